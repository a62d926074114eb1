"""`pinsage ui` for real: servers answer, a taken port is named, and every child is ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.children import Children, ServerError
from flows.embedded import free_port
from flows.ui import check_port_is_free, serve
from pinsage.errors import ConfigError


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_taken_port_is_named_with_the_option_that_changes_it(taken_port: int) -> None:
    with pytest.raises(ConfigError, match=rf"--mlflow-port {taken_port}.*Address already in use"):
        check_port_is_free("mlflow", taken_port)


def test_nothing_is_started_where_a_port_is_taken(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(ConfigError, match="--prefect-port"):
        serve("local", tmp_path / "var", prefect_port=taken_port, mlflow_port=free_port())
    assert not (tmp_path / "var").exists()


def test_an_unknown_profile_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--profile moon: no such profile; there is local"):
        serve("moon", tmp_path, prefect_port=free_port(), mlflow_port=free_port())


def test_children_and_their_children_are_ended_with_the_block(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid); p.wait()"
    (tmp_path / "parent_of_one.py").write_text(
        code.replace("print(p.pid)", "print(p.pid, flush=True)")
    )
    with Children(tmp_path, tmp_path / "logs", os.environ) as children:
        children.start("family", "parent_of_one")
        log = tmp_path / "logs" / "family.log"
        deadline = time.monotonic() + 20
        while not log.read_text().strip() and time.monotonic() < deadline:
            time.sleep(0.05)
        grandchild = int(log.read_text())
        assert is_alive(grandchild)
    deadline = time.monotonic() + 10
    while is_alive(grandchild) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(grandchild)


def test_a_server_that_ends_while_it_starts_is_reported_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "broken_server.py").write_text("raise SystemExit('cannot open the database')")
    with Children(tmp_path, tmp_path / "logs", os.environ) as children:
        children.start("mlflow", "broken_server")
        with pytest.raises(ServerError, match=r"(?s)mlflow ended with exit code 1.*cannot open"):
            children.until_it_answers("mlflow", f"http://127.0.0.1:{free_port()}/health")


@pytest.mark.slow
def test_servers_and_workers_come_up_and_go_down(tmp_path: Path, repository: Path) -> None:
    prefect, mlflow = free_port(), free_port()
    ports = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    code = "from pinsage.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "ui", "--root", str(tmp_path / "var"), *ports],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    said = ""
    try:
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        for url in (f"http://127.0.0.1:{prefect}/api/health", f"http://127.0.0.1:{mlflow}/health"):
            with urllib.request.urlopen(url, timeout=20) as response:  # noqa: S310
                assert response.status == 200
        for name in ("worker-cpu", "worker-gpu"):
            assert (tmp_path / "var" / "logs" / f"{name}.log").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=60)[0]
    assert process.returncode == 0, said
    for port in (prefect, mlflow):
        check_port_is_free("prefect", port)
