"""What a run is doing, as structured log records: the commands draw them, Prefect stores them.

How far a stage is changes twice a second: such moments have a logger of their own, which Prefect
does not store, and which is silent unless a terminal draws it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from pinsage.progress import Progress

EVENT = "pinsage_event"  # attribute of the log record that carries the event
MOMENTS = "pinsage-moments"  # a name beside those of settings.LOGGERS, not below one

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageEvent:
    """A stage began, goes on, or ended. `seconds` and `peak_mib` are of the stage's own work.

    `has_bar` says that the stage draws a progress bar of its own in a terminal.
    """

    stage: str
    state: Literal["running", "done", "reused", "failed"]
    note: str = ""
    seconds: float = 0.0
    peak_mib: float = 0.0
    has_bar: bool = False

    def __str__(self) -> str:
        if self.state == "done":
            note = f" ({self.note})" if self.note else ""
            cost = f"{self.seconds:.1f} s, peak {self.peak_mib:,.0f} MiB"
            return f"{self.stage}: done in {cost}{note}"
        if self.state == "reused":
            return f"{self.stage}: unchanged, not run again"
        return f"{self.stage}: {self.state}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class StageMoment:
    """How far a running stage is."""

    stage: str
    progress: Progress

    def __str__(self) -> str:
        return f"{self.stage}: {self.progress}"


def announce(event: StageEvent) -> None:
    """Log an event."""
    _log.info("%s", event, extra={EVENT: event})


def announce_moment(moment: StageMoment) -> None:
    """Tell the terminal, if one is watching."""
    logging.getLogger(MOMENTS).debug("%s", moment, extra={EVENT: moment})
