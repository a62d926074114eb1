"""How far long work is: what is counted, how fast, and how long it will take yet.

The library tells a listener, a plain function, and knows nothing of terminals or servers. Stages
whose work is long take one: rows of ingest, edges of the graph, items that are walked from.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

_INTERVAL = 0.5  # seconds between two reports: what a person can read


@dataclass(frozen=True)
class Progress:
    """A moment of some work.

    Attributes:
        part: what is being done, e.g. `reading interactions`
        unit: what is counted, in the plural, e.g. `rows`
        done, total: how many, what an earlier process had finished included
        rate: units a second of this process, 0 where nothing was measured yet
    """

    part: str
    unit: str
    done: int
    total: int
    rate: float

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end at this rate; None where the rate is not known."""
        return (self.total - self.done) / self.rate if self.rate else None

    def __str__(self) -> str:
        left = self.seconds_left
        said = f"{self.part}: {_short(self.done)} of {_short(self.total)} {self.unit}"
        if left is None:
            return said
        return f"{said}, {_short(self.rate)}/s, {_duration(left)} left"


Listener: TypeAlias = Callable[[Progress], None]


class Pace:
    """Counts work and tells a listener of it: at the start, at the end, and now and then between.

    `done` is what an earlier process finished; it counts as done, and not towards the rate.
    """

    def __init__(
        self, listener: Listener | None, part: str, unit: str, total: int, done: int = 0
    ) -> None:
        self._listener = listener
        self._part, self._unit, self._total = part, unit, total
        self._before = self._done = done
        self._started = self._told = time.monotonic()
        self._tell()

    def add(self, count: int) -> None:
        """Count so many units as done."""
        self._done += count
        if self._done >= self._total or time.monotonic() - self._told >= _INTERVAL:
            self._tell()

    def _tell(self) -> None:
        if self._listener is None:
            return
        self._told = time.monotonic()
        seconds, here = self._told - self._started, self._done - self._before
        rate = here / seconds if here and seconds > 0 else 0.0
        self._listener(Progress(self._part, self._unit, self._done, self._total, rate))


def _short(count: float) -> str:
    """A number in four characters or so: 850, 12.5 k, 3.1 M."""
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.{1 if count < 100 * size else 0}f}{suffix}"
    return f"{count:.0f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
