"""The profile `team` of `pinsage ui`: servers with login, on PostgreSQL, for several people.

Everything secret comes from the environment and goes on through the environment, to the processes
that need it and to no others; one file, which MLflow's login demands, is readable by its owner
alone and lives as long as the servers. `Team.from_environment` decides before anything starts.

    PINSAGE_TEAM_PREFECT_DB       postgresql://USER:PASSWORD@HOST/DATABASE of Prefect
    PINSAGE_TEAM_MLFLOW_DB        the same of MLflow, whose users are kept there too
    PINSAGE_TEAM_PREFECT_AUTH     USER:PASSWORD of Prefect, one for all
    PINSAGE_TEAM_MLFLOW_USER      MLflow's administrator, and the workers' user
    PINSAGE_TEAM_MLFLOW_PASSWORD  the password it is made with
    PINSAGE_TEAM_SECRET_KEY       signs MLflow's forms; the same at every start
    PINSAGE_TEAM_HOSTNAME         the name that browsers reach this machine by; loopback if not set
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from flows.settings import HOST
from pinsage.console import is_loopback
from pinsage.errors import ConfigError, MissingExtraError

PREFIX = "PINSAGE_TEAM_"
SECRETS = (
    "PINSAGE_TEAM_PREFECT_DB", "PINSAGE_TEAM_MLFLOW_DB", "PINSAGE_TEAM_PREFECT_AUTH",
    "PINSAGE_TEAM_MLFLOW_USER", "PINSAGE_TEAM_MLFLOW_PASSWORD", "PINSAGE_TEAM_SECRET_KEY",
)  # fmt: skip
HOSTNAME = "PINSAGE_TEAM_HOSTNAME"
SHORTEST = 12  # characters of a password that an address beyond this machine may be opened with
# Passwords that stand in somebody's documentation.
_WELL_KNOWN = {
    "admin", "change-me", "changeme", "default", "mlflow", "pass", "password", "password1234",
    "pinsage", "postgres", "prefect", "secret", "test",
}  # fmt: skip
_NEEDED = {"flask_wtf": "Flask-WTF", "psycopg": "psycopg"}


@dataclass(frozen=True)
class Team:
    """Addresses and credentials of the team's servers; `repr` shows none of the secrets."""

    host: str
    hostname: str
    prefect_db: str = field(repr=False)
    mlflow_db: str = field(repr=False)
    prefect_auth: str = field(repr=False)
    mlflow_user: str = field(repr=False)
    mlflow_password: str = field(repr=False)
    secret_key: str = field(repr=False)

    @classmethod
    def from_environment(cls, host: str, environment: Mapping[str, str] = os.environ) -> Team:
        """Read and judge the variables of the module's docstring.

        Raises ConfigError, naming the variable and never its value, where one is missing or
        malformed, or where `host` is not loopback and a password is short or well known;
        MissingExtraError where the extra `team` is not installed.
        """
        _require_packages()
        missing = [name for name in SECRETS if not environment.get(name, "").strip()]
        if missing:
            raise ConfigError(
                f"--profile team: {', '.join(missing)}: not set, or empty; set them in the "
                f"environment (docs/operations.md says how), never on the command line"
            )
        hostname = environment.get(HOSTNAME, "").strip() or (host if is_loopback(host) else "")
        values = [environment[name].strip() for name in SECRETS]
        team = cls(host, hostname or host, *values)
        team._check_forms()
        if not is_loopback(host):
            if not hostname:
                raise ConfigError(
                    f"--host {host}: {HOSTNAME} is not set; it is the name that browsers use, and "
                    f"requests for any other are refused"
                )
            team._check_strength()
        return team

    @property
    def prefect(self) -> dict[str, str]:
        """Environment of Prefect's server."""
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": with_driver(self.prefect_db, "asyncpg"),
            "PREFECT_SERVER_API_AUTH_STRING": self.prefect_auth,
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        }

    def origins(self, port: int) -> str:
        """Origins of pages that may ask a server on the port, as both servers take them."""
        return ",".join(f"http://{name}:{port}" for name in dict.fromkeys([self.hostname, HOST]))

    @property
    def mlflow(self) -> dict[str, str]:
        """Environment of MLflow's server, but for the file that `login_settings` writes."""
        names = dict.fromkeys([self.hostname, HOST, "localhost"])
        return {
            "MLFLOW_BACKEND_STORE_URI": with_driver(self.mlflow_db, "psycopg"),
            "MLFLOW_AUTH_ADMIN_USERNAME": self.mlflow_user,
            "MLFLOW_AUTH_ADMIN_PASSWORD": self.mlflow_password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secret_key,
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(f"{n},{n}:*" for n in names),
            # Routes for which MLflow knows no rule are refused, and no jobs are run for anybody.
            "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    @property
    def clients(self) -> dict[str, str]:
        """Environment of workers, of the runs they start, and of anybody who deploys."""
        return {
            "PREFECT_API_AUTH_STRING": self.prefect_auth,
            "MLFLOW_TRACKING_USERNAME": self.mlflow_user,
            "MLFLOW_TRACKING_PASSWORD": self.mlflow_password,
        }

    def _check_forms(self) -> None:
        for name, url in zip(SECRETS[:2], (self.prefect_db, self.mlflow_db), strict=True):
            if urlsplit(url).scheme.partition("+")[0] not in ("postgresql", "postgres"):
                raise ConfigError(
                    f"{name}: expected postgresql://USER:PASSWORD@HOST/DATABASE; SQLite is for "
                    f"one person, with --profile local"
                )
        user, colon, password = self.prefect_auth.partition(":")
        if not (user and colon and password):
            raise ConfigError(f"{SECRETS[2]}: expected USER:PASSWORD")
        if len(self.mlflow_password) < SHORTEST:  # MLflow's own rule, told before it starts
            raise ConfigError(f"{SECRETS[4]}: expected at least {SHORTEST} characters")

    def _check_strength(self) -> None:
        user, _, password = self.prefect_auth.partition(":")
        chosen = {
            SECRETS[2]: (password, user),
            SECRETS[4]: (self.mlflow_password, self.mlflow_user),
            SECRETS[5]: (self.secret_key, ""),
        }
        for name, (secret, owner) in chosen.items():
            if len(secret) < SHORTEST or secret.lower() in _WELL_KNOWN or secret == owner:
                raise ConfigError(
                    f"--host {self.host}: {name} is well known, equal to its user, or shorter than "
                    f"{SHORTEST} characters; take another, e.g. from `openssl rand -hex 24`"
                )


@contextmanager
def login_settings(team: Team | None, folder: Path) -> Iterator[dict[str, str]]:
    """MLflow's settings of login as a file for its owner alone, removed at the end.

    What comes back names it in the environment. Without a team there is none.
    """
    if team is None:
        yield {}
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "login.ini"
    address = with_driver(team.mlflow_db, "psycopg").replace("%", "%%")  # % begins a reference
    text = f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {address}\n"
    file.unlink(missing_ok=True)  # a kill may have left it, with other permissions
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
    try:
        yield {"MLFLOW_AUTH_CONFIG_PATH": str(file)}
    finally:
        file.unlink(missing_ok=True)


def with_driver(url: str, driver: str) -> str:
    """A PostgreSQL address that names the driver, whatever driver it named before."""
    return f"postgresql+{driver}://{url.partition('://')[2]}"


def _require_packages() -> None:
    for module, package in _NEEDED.items():
        if find_spec(module) is None:
            raise MissingExtraError(
                f"`pinsage ui --profile team` needs the package {package}, which is not installed; "
                f"run: pip install 'pinsage-pipeline[team]'"
            )
