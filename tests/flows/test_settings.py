"""What the user has set stays; what was left open makes everything embedded and quiet."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows import settings
from pinsage.errors import ConfigError


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing of ours is set; what a test sets is taken back."""
    groups = (
        settings.QUIET, settings.IMPATIENT, settings.LOGGING, settings.EMBEDDED, settings.TERMINAL
    )  # fmt: skip
    for name in {key for group in groups for key in group} | {"PREFECT_HOME", "PREFECT_API_URL"}:
        monkeypatch.setenv(name, "")  # so that monkeypatch restores it even if it was not set
        monkeypatch.delenv(name)
    return monkeypatch


def test_without_any_setting_prefect_is_embedded_below_the_root(
    clean: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings.environment(tmp_path / "deep" / "var")
    assert os.environ["PREFECT_HOME"] == str(tmp_path / "deep" / "var" / "prefect")
    assert (tmp_path / "deep" / "var" / "prefect").is_dir()
    assert os.environ["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "true"


@pytest.mark.parametrize(
    ("name", "value"), [("PREFECT_API_URL", "http://127.0.0.1:1/api"), ("PREFECT_HOME", "/mine")]
)
def test_where_the_user_points_to_a_prefect_nothing_is_embedded(
    clean: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    clean.setenv(name, value)
    settings.environment(tmp_path)
    assert os.environ[name] == value
    assert "PREFECT_SERVER_EPHEMERAL_ENABLED" not in os.environ
    assert not (tmp_path / "prefect").exists()


@pytest.mark.parametrize("name", list(settings.QUIET))
def test_usage_statistics_of_every_tool_are_off(
    clean: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    settings.environment(tmp_path)
    assert os.environ[name] == settings.QUIET[name]


def test_what_the_user_set_is_kept(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    clean.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    settings.environment(tmp_path)
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"


def test_a_root_that_cannot_be_written_is_named(clean: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"root: cannot write to .*file/var/prefect.*--set root"):
        settings.environment(tmp_path / "file" / "var")


def test_a_prefect_server_that_does_not_answer_is_named(clean: pytest.MonkeyPatch) -> None:
    clean.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9/api: no Prefect server.*pinsage ui"):
        settings.check_server()


def test_a_prefect_server_that_answers_in_any_way_is_enough(
    clean: pytest.MonkeyPatch, refusing_server: str
) -> None:
    clean.setenv("PREFECT_API_URL", refusing_server)
    settings.check_server()


class Silent(http.server.BaseHTTPRequestHandler):
    """Answers 501 to everything and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def refusing_server() -> Iterator[str]:
    """A server that lets nobody in: 501 to everything."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api"
    server.shutdown()
    thread.join()
    server.server_close()
