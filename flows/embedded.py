"""Prefect's API for the time of one command, where no server runs.

Prefect can start such an API itself, but only once everything is imported, and it imports the
server into this process first. Started beforehand, and apart, it is up when it is needed, which
saves a third of a run that has nothing to do.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from flows.children import Children
from flows.settings import HOST

WITHOUT_PAGES = {"PREFECT_SERVER_UI_ENABLED": "false"}


def start_embedded_api(root: Path) -> Callable[[], None]:
    """Start Prefect's API and point the environment to it; what is returned waits for its answer.

    It ends with this process. Call this before prefect is imported: what is registered first is
    done last when Python exits, and Prefect sends its last log lines and events there. Raises
    ServerError, when waited for, where the API does not start.
    """
    port = free_port()
    os.environ.update(WITHOUT_PAGES)
    children = Children(Path.cwd(), root / "logs", os.environ)
    atexit.register(children.end)
    # Without a handler SIGTERM ends Python at once, and nothing that is registered is done.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    children.start("prefect", "prefect", "server", "start", "--host", HOST, "--port", str(port))
    os.environ["PREFECT_API_URL"] = f"http://{HOST}:{port}/api"
    return lambda: children.until_it_answers("prefect", f"http://{HOST}:{port}/api/health")


def free_port() -> int:
    """A port of the loopback address that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
