"""Which version answers, and how the next one takes its place without a request that waits.

A thread looks at the pointer of the data set. A version that appears there is opened, verified and
warmed beside the one that answers; then one reference is replaced. A request takes the reference
once, so that its answer is of one version, and the old one goes with its last request. A version
that cannot be opened is logged, counted and passed over, and tried again now and then.
"""

from __future__ import annotations

import gc
import logging
import time
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa

from pinsage.errors import PinSageError
from pinsage.retrieval.versions import current_version
from pinsage.serving.metrics import Metrics
from pinsage.serving.opened import Opened

RETRY_SECONDS = 60.0
_log = logging.getLogger(__name__)


class Switch:
    """Holds the open version of one data set, and follows the published one.

    Raises ArtifactError where there is none to begin with. With `pinned` it stays at that version.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        pinned: str | None,
        metrics: Metrics,
        poll: float,
        *,
        preload: bool = False,
    ) -> None:
        self.root, self.name, self.pinned, self.poll = root, name, pinned, poll
        self._metrics = metrics
        self._opened = Opened.open(root, name, pinned, with_model=preload)
        self._passed_over: dict[str, float] = {}  # version -> when it is tried again
        self._unreadable = False
        self._stop = Event()
        self._thread = Thread(target=self._follow, name="switch", daemon=True)
        metrics.serve(name, self._opened)

    @property
    def opened(self) -> Opened:
        """The version that answers now; take it once a request."""
        return self._opened

    def start(self) -> None:
        """Follow what is published, in a thread, unless a version is pinned."""
        if self.pinned is None:
            self._thread.start()

    def stop(self) -> None:
        """Follow no more; waits a little for a version that is being opened."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def look(self) -> bool:
        """Switch if another version is published; True if so."""
        wanted = self._wanted()
        if wanted is None or time.monotonic() < self._passed_over.get(wanted, 0.0):
            return False
        start = time.monotonic()
        try:
            opened = Opened.open(self.root, self.name, wanted, with_model=self._opened.has_model)
        except Exception as error:  # noqa: BLE001, whatever is wrong, the one that answers goes on
            self._pass_over(wanted, error)
            return False
        before, self._opened = self._opened.version, opened
        self._passed_over.clear()
        self._metrics.switches.inc()
        self._metrics.serve(self.name, opened)
        _log.info("%s: %s answers now, after %s (opened in %.2f s)",
                  self.name, wanted, before, time.monotonic() - start)  # fmt: skip
        return True

    def _wanted(self) -> str | None:
        """The published version, where it is another than the one that answers."""
        try:
            current = current_version(self.root, self.name)
        except PinSageError as error:
            if not self._unreadable:
                _log.warning("%s: %s; %s answers on", self.name, error, self._opened.version)
            self._unreadable = True
            return None
        self._unreadable = False
        return current if current != self._opened.version else None

    def _pass_over(self, wanted: str, error: Exception) -> None:
        self._passed_over[wanted] = time.monotonic() + RETRY_SECONDS
        self._metrics.failed_loads.inc()
        expected = isinstance(error, PinSageError)
        _log.error(
            "%s: version %s cannot be opened (%s); %s answers on, and it is tried again in %.0f s",
            self.name, wanted, error, self._opened.version, RETRY_SECONDS,
            exc_info=None if expected else error,
        )  # fmt: skip

    def _follow(self) -> None:
        while not self._stop.wait(self.poll):
            if self.look():
                # What the old version held goes back to the system, not to a free list.
                gc.collect()
                pa.default_memory_pool().release_unused()
