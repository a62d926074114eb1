"""What the machine does while a run goes on: processor, memory, disk, network, GPUs.

MLflow's own meters measure (psutil; GPUs where the package nvidia-ml-py is), under MLflow's own
names, which its page *System metrics* draws. Time and writing are ours: MLflow's thread gives a run
that is shorter than its interval no sample at all, its first sample of the processor is always 0,
and it does not know of an MLflow that has gone away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Protocol

PREFIX = "system/"  # of MLflow's page
LEAST = 0.5  # seconds over which the share of the processor says something
MOST_A_DOUBLING = 200  # samples that the second half of a run adds, at most
PATIENCE = 30.0  # seconds that the end of a run waits for the last sample
_log = logging.getLogger(__name__)

Write = Callable[[Mapping[str, float], int], None]


class Clearable(Protocol):
    """One of the meters, of the processor or the disk."""

    def clear_metrics(self) -> None:
        """Forget what was measured."""


class Meter(Protocol):
    """What of MLflow's monitor is used."""

    sampling_interval: float

    @property
    def monitors(self) -> Sequence[Clearable]:
        """The meters of each part."""

    def collect_metrics(self) -> object:
        """Measure once."""

    def aggregate_metrics(self) -> Mapping[str, float]:
        """Means of what was measured since it was cleared."""


@contextmanager
def sampled(make: Callable[[], Meter], write: Write) -> Iterator[None]:
    """Measure the machine for the time of the block, in a thread that ends with it.

    A sample every `sampling_interval` seconds, or each 200th of the time so far where that is
    longer, and one at the end; steps count from 0. A block of less than LEAST seconds has none.
    `make` is called in the thread, which is left behind where it does not end within PATIENCE.
    """
    over = threading.Event()
    within = copy_context()  # so that its warnings are stored with the flow run
    thread = threading.Thread(
        target=within.run, args=(_watch, make, write, over), name="system-metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)
        if thread.is_alive():
            _log.warning(
                "system metrics: no last sample within %.0f s; the run goes on without", PATIENCE
            )


def _watch(make: Callable[[], Meter], write: Write, over: threading.Event) -> None:
    try:
        _sample(make(), write, over)
    except Exception as error:  # noqa: BLE001, no psutil, no /proc: whatever a meter says
        _log.warning("system metrics: this machine cannot be measured (%s)", error)


def _sample(meter: Meter, write: Write, over: threading.Event) -> None:
    _measure(meter)  # the processor's share is that since it was asked last
    begun = last = time.monotonic()
    step, is_over = 0, False
    while not is_over:
        # Ever further apart: a night that waits for a person would fill MLflow with idleness.
        is_over = over.wait(max(meter.sampling_interval, (last - begun) / MOST_A_DOUBLING))
        if is_over and time.monotonic() - last < LEAST:
            return
        write({f"{PREFIX}{name}": value for name, value in _measure(meter).items()}, step)
        step, last = step + 1, time.monotonic()


def _measure(meter: Meter) -> Mapping[str, float]:
    meter.collect_metrics()
    found = meter.aggregate_metrics()
    for each in meter.monitors:
        each.clear_metrics()
    return found
