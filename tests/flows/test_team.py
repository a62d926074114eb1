"""The profile `team`: which credentials are refused, and which process gets which secret."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import pytest

from flows import team as module
from flows.team import SECRETS, Team, login_settings, with_driver
from flows.ui import Servers, serve
from pinsage.console import is_loopback
from pinsage.errors import ConfigError, MissingExtraError

ALL = "0.0.0.0"  # noqa: S104  # what is refused, or only named
CANARY = "canary-" + secrets.token_hex(12)
GOOD = {
    "PINSAGE_TEAM_PREFECT_DB": f"postgresql://team:{CANARY}@db/prefect",
    "PINSAGE_TEAM_MLFLOW_DB": f"postgresql://team:{CANARY}@db/mlflow",
    "PINSAGE_TEAM_PREFECT_AUTH": f"ops:{CANARY}-prefect",
    "PINSAGE_TEAM_MLFLOW_USER": "ops",
    "PINSAGE_TEAM_MLFLOW_PASSWORD": f"{CANARY}-mlflow",
    "PINSAGE_TEAM_SECRET_KEY": f"{CANARY}-key",
    "PINSAGE_TEAM_HOSTNAME": "pinsage.example",
}


@pytest.fixture
def has_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with the extra `team`: what is judged here needs none of it."""
    monkeypatch.setattr(module, "find_spec", lambda _: object())


@pytest.mark.usefixtures("has_packages")
class TestVariables:
    @pytest.mark.parametrize("name", SECRETS)
    @pytest.mark.parametrize("value", [None, "", "  "])
    def test_one_that_is_missing_or_empty_is_named(self, name: str, value: str | None) -> None:
        given = {k: v for k, v in {**GOOD, name: value}.items() if v is not None}
        with pytest.raises(ConfigError, match=rf"--profile team: {name}: not set, or empty"):
            Team.from_environment("127.0.0.1", given)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PINSAGE_TEAM_PREFECT_DB", "sqlite:///prefect.db"),
            ("PINSAGE_TEAM_MLFLOW_DB", "mysql://a:b@c/d"),
            ("PINSAGE_TEAM_PREFECT_AUTH", "no-colon"),
            ("PINSAGE_TEAM_PREFECT_AUTH", ":only-a-password"),
            ("PINSAGE_TEAM_MLFLOW_PASSWORD", "short"),
        ],
    )
    def test_a_wrong_form_is_refused_without_showing_the_value(self, name: str, value: str) -> None:
        with pytest.raises(ConfigError, match=f"{name}: expected") as caught:
            Team.from_environment("127.0.0.1", {**GOOD, name: value})
        assert value not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("PINSAGE_TEAM_PREFECT_AUTH", "ops:password1234"),
            ("PINSAGE_TEAM_PREFECT_AUTH", "operations-user:operations-user"),
            ("PINSAGE_TEAM_PREFECT_AUTH", "ops:short"),
            ("PINSAGE_TEAM_MLFLOW_PASSWORD", "Password1234"),
            ("PINSAGE_TEAM_SECRET_KEY", "changeme"),
        ],
    )
    def test_a_weak_one_opens_no_address_beyond_this_machine(self, name: str, value: str) -> None:
        weak = {**GOOD, name: value}
        with pytest.raises(ConfigError, match=rf"--host 0\.0\.0\.0: {name} is well known") as told:
            Team.from_environment(ALL, weak)
        assert value not in str(told.value)
        assert Team.from_environment("127.0.0.1", weak).host == "127.0.0.1"

    def test_an_address_beyond_this_machine_needs_the_name_browsers_use(self) -> None:
        nameless = {k: v for k, v in GOOD.items() if k != "PINSAGE_TEAM_HOSTNAME"}
        with pytest.raises(ConfigError, match="PINSAGE_TEAM_HOSTNAME is not set"):
            Team.from_environment(ALL, nameless)
        assert Team.from_environment("127.0.0.1", nameless).hostname == "127.0.0.1"
        assert Team.from_environment(ALL, GOOD).hostname == "pinsage.example"

    def test_no_secret_is_in_what_python_shows(self) -> None:
        assert CANARY not in repr(Team.from_environment("127.0.0.1", GOOD))

    def test_each_process_gets_the_secrets_it_needs_and_no_others(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name, value in GOOD.items():
            monkeypatch.setenv(name, value)
        servers = Servers(tmp_path, 1, 2, ALL, Team.from_environment(ALL))
        shown = {
            "workers": json.dumps(servers.environment),
            "prefect": json.dumps(servers.of_prefect),
            "mlflow": json.dumps(servers.of_mlflow),
        }
        assert not any("PINSAGE_TEAM_" in each for each in shown.values())
        holders = {
            secret: [name for name, text in shown.items() if secret in text]
            for secret in ("@db/prefect", "@db/mlflow", "-prefect", "-mlflow", "-key")
        }
        assert holders == {
            "@db/prefect": ["prefect"],
            "@db/mlflow": ["mlflow"],
            "-prefect": ["workers", "prefect"],
            "-mlflow": ["workers", "mlflow"],
            "-key": ["mlflow"],
        }
        assert servers.prefect == "http://127.0.0.1:1", "how this machine reaches 0.0.0.0"


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(
        MissingExtraError, match=r"Flask-WTF.*pip install 'pinsage-pipeline\[team\]"
    ):
        Team.from_environment("127.0.0.1", GOOD)


def test_without_a_login_no_other_machine_is_served(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0: the profile local has no login"):
        serve("local", tmp_path, prefect_port=1, mlflow_port=2, host=ALL)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, True) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")],
        *[(host, False) for host in (ALL, "::", "10.0.0.1", "pinsage.example", "127.0.0.1.x")],
    ],
)
def test_loopback_is_what_no_other_machine_reaches(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_each_server_gets_its_own_driver(scheme: str) -> None:
    assert with_driver(f"{scheme}://u:p%40@h/d?x=1", "asyncpg") == (
        "postgresql+asyncpg://u:p%40@h/d?x=1"
    )


@pytest.mark.usefixtures("has_packages")
def test_the_file_of_the_login_is_for_its_owner_alone_and_goes(tmp_path: Path) -> None:
    from configparser import ConfigParser

    url = "postgresql://team:100%25@db/mlflow"
    team = Team.from_environment("127.0.0.1", {**GOOD, "PINSAGE_TEAM_MLFLOW_DB": url})
    with login_settings(team, tmp_path / "team") as environment:
        file = Path(environment["MLFLOW_AUTH_CONFIG_PATH"])
        assert file.stat().st_mode & 0o777 == 0o600
        read = ConfigParser()
        read.read(file)
        assert read["mlflow"]["database_uri"] == "postgresql+psycopg://team:100%25@db/mlflow"
    assert not file.exists()
