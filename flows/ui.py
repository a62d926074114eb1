"""`pinsage ui`: Prefect's server and workers and the MLflow server, until Ctrl-C.

With the profile `local` they keep their data where the embedded default does, so that runs made
without servers are seen too; with `team` they ask for a login and keep them in PostgreSQL. Whatever
happens, every child that was started is ended.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from flows.children import Children
from flows.settings import (
    HOST,
    LOGGING,
    MLFLOW_VIEW,
    QUIET,
    mlflow_artifacts,
    mlflow_database,
    prefect_home,
)
from flows.team import PREFIX, Team, login_settings
from pinsage.console import is_loopback
from pinsage.errors import ConfigError

POOLS = ("cpu", "gpu")
PROFILES = ("local", "team")


@dataclass(frozen=True)
class Servers:
    """Where the servers listen and keep their data; `team` is None without login."""

    root: Path
    prefect_port: int
    mlflow_port: int
    host: str = HOST
    team: Team | None = None

    @property
    def prefect(self) -> str:
        """Address of Prefect's pages, for this machine."""
        return f"http://{self._reached_at}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        """Address of MLflow's pages, for this machine."""
        return f"http://{self._reached_at}:{self.mlflow_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of workers and of what deploys.

        Workers without a login open MLflow's database themselves, as the embedded default does:
        artifacts of one experiment then always lie in the same place, whoever wrote them. A team's
        workers have no password of the database, and go through the server.
        """
        address = {
            "PREFECT_API_URL": f"{self.prefect}/api",
            "MLFLOW_TRACKING_URI": mlflow_database(self.root) if self.team is None else self.mlflow,
            "PINSAGE_MLFLOW_ADDRESS": self.mlflow,
        }
        return {**self._common, **address, **(self.team.clients if self.team else {})}

    @property
    def of_prefect(self) -> dict[str, str]:
        """Environment of Prefect's server."""
        url = {"PREFECT_API_URL": f"{self.prefect}/api"}
        if self.team is None:
            return {**self._common, **url}
        pages = f"http://{self.team.hostname}:{self.prefect_port}/api"
        origins = self.team.origins(self.prefect_port)
        named = {"PREFECT_UI_API_URL": pages, "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origins}
        # The server's own services ask it as any client does.
        auth = {"PREFECT_API_AUTH_STRING": self.team.prefect_auth}
        return {**self._common, **url, **named, **auth, **self.team.prefect}

    @property
    def of_mlflow(self) -> dict[str, str]:
        """Environment of MLflow's server."""
        if self.team is None:
            return {**self._common, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # none is ours
        origins = {"MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": self.team.origins(self.mlflow_port)}
        return {**self._common, **origins, **self.team.mlflow}

    @property
    def _reached_at(self) -> str:
        return HOST if self.host in ("0.0.0.0", "::") else self.host  # noqa: S104  # compared

    @property
    def _common(self) -> dict[str, str]:
        """What all have: never the variables of a team, which each gets its own part of."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        home = {"PREFECT_HOME": str(prefect_home(self.root))}
        return {**own, **QUIET, **LOGGING, **home, "PYTHONUNBUFFERED": "1"}


def serve(
    profile: str, root: Path, *, prefect_port: int, mlflow_port: int, host: str = HOST
) -> None:
    """Start everything, say where it is, and wait for Ctrl-C or SIGTERM.

    Raises ConfigError for an unknown profile, a port that is taken, an address beyond this machine
    without a login, or a login that is missing or weak; ServerError where a server does not start
    or ends by itself.
    """
    if profile not in PROFILES:
        raise ConfigError(f"--profile {profile}: no such profile; there is {', '.join(PROFILES)}")
    if profile == "local" and not is_loopback(host):
        raise ConfigError(
            f"--host {host}: the profile local has no login, so that it serves this machine alone; "
            f"use --profile team"
        )
    team = Team.from_environment(host) if profile == "team" else None
    servers = Servers(root.resolve(), prefect_port, mlflow_port, host, team)
    for name, port in (("prefect", prefect_port), ("mlflow", mlflow_port)):
        check_port_is_free(name, port, host)
    prefect_home(servers.root).mkdir(parents=True, exist_ok=True)
    console = Console()
    children = Children(checkout(), servers.root / "logs", servers.environment)
    login = login_settings(team, servers.root / "team")
    with login as of_login, children, _ends_on_sigterm():
        try:
            _start(servers, children, of_login, console)
            _say_where(servers, children, console)
            children.wait()
        except KeyboardInterrupt:
            console.print("ending the servers …")


def checkout() -> Path:
    """The folder with prefect.yaml: the current one, or the one this code lies in."""
    folders = (Path.cwd(), Path(__file__).resolve().parents[1])
    for folder in folders:
        if (folder / "prefect.yaml").is_file():
            return folder
    raise ConfigError(
        f"prefect.yaml: not in {' or '.join(map(str, folders))}; run `pinsage ui` in a checkout of "
        f"the repository"
    )


def check_port_is_free(name: str, port: int, host: str = HOST) -> None:
    """Raise ConfigError where something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"--{name}-port {port}: {host}:{port} cannot be used ({error.strerror}); "
                f"end what listens there, or choose another port with --{name}-port"
            ) from None


def _start(
    servers: Servers, children: Children, of_login: Mapping[str, str], console: Console
) -> None:
    with console.status("starting Prefect and MLflow …"):
        host = ("--host", servers.host)
        prefect = ("prefect", "server", "start", *host, "--port", str(servers.prefect_port))
        children.start("prefect", *prefect, environment=servers.of_prefect)
        artifacts = mlflow_artifacts(servers.root).as_uri()
        proxied = ("--serve-artifacts", "--artifacts-destination", artifacts)
        mlflow = ("mlflow", "server", *host, "--port", str(servers.mlflow_port), *proxied)
        # A team's database is named in the environment: its address holds a password.
        store = (
            ("--backend-store-uri", mlflow_database(servers.root), "--workers", "1")
            if servers.team is None
            else ("--app-name", "basic-auth", "--workers", "2")
        )
        children.start("mlflow", *mlflow, *store, environment={**servers.of_mlflow, **of_login})
        children.until_it_answers("prefect", f"{servers.prefect}/api/health")
    with console.status("deploying the flows, starting the workers …"):
        for pool in POOLS:
            create = ("work-pool", "create", pool, "--type", "process", "--overwrite")
            children.run(f"pool-{pool}", "prefect", "--no-prompt", *create)
        children.run("deploy", "prefect", "--no-prompt", "deploy", "--all")
        children.run("automations", "flows.watch")
        for pool in POOLS:
            worker = ("worker", "start", "--pool", pool, "--type", "process", "--name", pool)
            children.start(f"worker-{pool}", "prefect", *worker)
        children.until_it_answers("mlflow", f"{servers.mlflow}/health")


def _say_where(servers: Servers, children: Children, console: Console) -> None:
    from flows.console import places_table

    places: dict[str, str | Path] = {
        "Prefect": servers.prefect,
        "start a run": f"{servers.prefect}/deployments, then nightly, then Run",
        "MLflow": f"{servers.mlflow}/#/experiments{MLFLOW_VIEW}",
        "logs": children.logs,
        "end": "Ctrl-C",
    }
    console.print(places_table(places))


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
