"""The process: one event loop that reads and writes, a few threads that compute, one that follows.

On SIGTERM or SIGINT the server first says, on /ready and by closing connections after their next
answer, that it is about to end; then it takes no more connections, and ends when everything that
was accepted is answered. A second signal ends it at once.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path
from threading import Timer
from types import FrameType

import pyarrow as pa
import uvicorn
from prometheus_client import disable_created_metrics

from pinsage.config import ContextsConfig
from pinsage.errors import ConfigError
from pinsage.serving.app import Service, make_app
from pinsage.serving.metrics import Metrics
from pinsage.serving.switching import Switch

ANSWER_SECONDS = 30  # that requests have once no more connections are taken
KEEP_ALIVE_SECONDS = 30
# Of Python: how long a thread that opens a version keeps the others waiting.
_TURN_SECONDS = 0.0005
_log = logging.getLogger(__name__)


def serve(
    root: Path,
    name: str,
    *,
    version: str | None,
    contexts: ContextsConfig,
    host: str,
    port: int,
    threads: int,
    poll: float,
    drain: float,
    preload: bool,
) -> None:
    """Open the published version and answer until a signal comes.

    With `preload` the model for new items is read before, else when it is first asked for.
    Raises ArtifactError where there is no version to begin with, ConfigError where the address
    cannot be had.
    """
    sys.setswitchinterval(_TURN_SECONDS)
    pa.set_cpu_count(1)  # opening a version beside requests takes one core, not all
    metrics = Metrics()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series for each of ours that says when it began
    switch = Switch(root, name, version, metrics, poll, preload=preload)
    service = Service(switch, metrics, contexts, threads or available_cpus())
    listening = _listen(host, port)
    config = uvicorn.Config(
        make_app(service),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=ANSWER_SECONDS,
    )
    bound = listening.getsockname()
    address = f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"
    _log.info("%s: %s answers on http://%s", name, switch.opened.version, address)
    _Server(config, service, drain).run(sockets=[listening])
    _log.info("%s: ended; every request that was accepted is answered", name)


def available_cpus() -> int:
    """CPUs that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, service: Service, drain: float) -> None:
        super().__init__(config)
        self._service, self._drain = service, drain

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, a second one forces it."""
        if self._service.draining:
            self.force_exit = self.should_exit = True
            return
        self._service.draining = True
        timer = Timer(self._drain, setattr, (self, "should_exit", True))
        timer.daemon = True
        timer.start()


def _listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"--host {host} --port {port}: cannot be listened on ({error}); choose another port, "
            f"or 0 for any that is free"
        ) from None
    listening.listen(1024)
    listening.set_inheritable(False)
    return listening
