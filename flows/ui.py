"""`pinsage ui`: Prefect's server and workers and the MLflow server, on loopback, until Ctrl-C.

They keep their data where the embedded default does, so that runs made without servers are seen
too. Whatever happens, every child that was started is ended.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
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
from pinsage.errors import ConfigError

POOLS = ("cpu", "gpu")
PROFILES = ("local",)


@dataclass(frozen=True)
class Servers:
    """Where the servers listen and keep their data."""

    root: Path
    prefect_port: int
    mlflow_port: int

    @property
    def prefect(self) -> str:
        """Address of Prefect's pages."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def mlflow(self) -> str:
        """Address of MLflow's pages."""
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of all children.

        Workers open MLflow's database themselves, as the embedded default does: artifacts of one
        experiment then always lie in the same place, whoever wrote them.
        """
        home = {"PREFECT_HOME": str(prefect_home(self.root))}
        address = {
            "PREFECT_API_URL": f"{self.prefect}/api",
            "MLFLOW_TRACKING_URI": mlflow_database(self.root),
            "PINSAGE_MLFLOW_ADDRESS": self.mlflow,
        }
        return {**os.environ, **QUIET, **LOGGING, **home, **address, "PYTHONUNBUFFERED": "1"}


def serve(profile: str, root: Path, *, prefect_port: int, mlflow_port: int) -> None:
    """Start everything, say where it is, and wait for Ctrl-C or SIGTERM.

    Raises ConfigError for an unknown profile or a port that is taken, and ServerError where a
    server does not start or ends by itself.
    """
    if profile not in PROFILES:
        raise ConfigError(f"--profile {profile}: no such profile; there is {', '.join(PROFILES)}")
    servers = Servers(root.resolve(), prefect_port, mlflow_port)
    for name, port in (("prefect", prefect_port), ("mlflow", mlflow_port)):
        check_port_is_free(name, port)
    prefect_home(servers.root).mkdir(parents=True, exist_ok=True)
    console = Console()
    children = Children(checkout(), servers.root / "logs", servers.environment)
    with children, _ends_on_sigterm():
        try:
            _start(servers, children, console)
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


def check_port_is_free(name: str, port: int) -> None:
    """Raise ConfigError where something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f"--{name}-port {port}: {HOST}:{port} cannot be used ({error.strerror}); "
                f"end what listens there, or choose another port with --{name}-port"
            ) from None


def _start(servers: Servers, children: Children, console: Console) -> None:
    with console.status("starting Prefect and MLflow …"):
        host = ("--host", HOST)
        port = ("--port", str(servers.prefect_port))
        children.start("prefect", "prefect", "server", "start", *host, *port)
        artifacts = mlflow_artifacts(servers.root)
        store = ("--backend-store-uri", mlflow_database(servers.root))
        proxied = ("--serve-artifacts", "--artifacts-destination", artifacts.as_uri())
        port = ("--port", str(servers.mlflow_port))
        children.start(
            "mlflow", "mlflow", "server", *host, *port, *store, *proxied, "--workers", "1"
        )
        children.until_it_answers("prefect", f"{servers.prefect}/api/health")
    with console.status("deploying the flows, starting the workers …"):
        for pool in POOLS:
            create = ("work-pool", "create", pool, "--type", "process", "--overwrite")
            children.run(f"pool-{pool}", "prefect", "--no-prompt", *create)
        children.run("deploy", "prefect", "--no-prompt", "deploy", "--all")
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
