"""What a run looks like in a terminal: one line a stage, then the results.

Everything is drawn from log events and from artifacts; data is shown as text, never as markup.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from flows.progress import EVENT, MOMENTS, StageEvent, StageMoment
from flows.results import Cell, Period
from flows.settings import LOGGERS
from pinsage.evaluation.metrics import metric_label

if TYPE_CHECKING:
    from pinsage.retrieval.published import Published

_MARKS = {"done": ("✓", "green"), "reused": ("=", "cyan"), "failed": ("✗", "red")}
_CUT_OFFS = 3


class StageLines(logging.Handler):
    """Draws stage events as lines, with a spinner on the stage that runs, and prints warnings."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._status: Status | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Draw one record."""
        event = getattr(record, EVENT, None)
        if isinstance(event, StageEvent):
            self._draw(event)
        elif isinstance(event, StageMoment):
            if self._status is not None:
                self._status.update(Text(f"{event} …"))
        elif record.levelno >= logging.WARNING:
            self._console.print(Text(f"warning: {record.getMessage()}", style="yellow"))

    def rest(self) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _draw(self, event: StageEvent) -> None:
        self.rest()
        if event.state == "running":
            if self._console.is_terminal and not event.has_bar:
                self._status = self._console.status(f"{event.stage} …")
                self._status.start()
            return
        mark, style = _MARKS[event.state]
        said = {"done": _cost(event), "reused": "unchanged", "failed": event.note}[event.state]
        self._console.print(Text.assemble((f"{mark} {event.stage:<22}", style), said))


@contextmanager
def stage_lines(console: Console) -> Iterator[None]:
    """Draw what happens within the block."""
    handler = StageLines(console)
    moments = logging.getLogger(MOMENTS)
    level, moments.propagate = moments.level, False
    moments.setLevel(logging.DEBUG)
    loggers = [moments, *(logging.getLogger(name) for name in LOGGERS)]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        handler.rest()
        for logger in loggers:
            logger.removeHandler(handler)
        moments.setLevel(level)
        moments.propagate = True


def result_table(period: Period) -> Table:
    """Methods by metrics, each number above its interval; the best is bold.

    Fits 80 columns: three cut-offs and the MRR. The evaluation's own table has every metric.
    """
    shown = [*[m for m in period.metrics if m.startswith("hit_rate_")][:_CUT_OFFS], "mrr"]
    caption = (
        f"{period.num_pairs:,} pairs of {period.num_users:,} users over {period.num_items:,} items;"
        f" {period.confidence:.0%} intervals by bootstrap over users; K/N is what chance reaches"
    )
    table = Table(title=period.title, caption=caption, title_justify="left")
    table.add_column("method", no_wrap=True)
    for metric in shown:
        chance = period.chance.get(metric)
        below = f"\nK/N {chance:.1%}" if chance is not None else ""
        table.add_column(f"{metric_label(metric)}{below}", justify="right", no_wrap=True)
    for method, cells in period.cells.items():
        table.add_row(Text(method), *(_cell(cells[metric]) for metric in shown))
    return table


def related_table(version: Published, rows: Sequence[int], count: int) -> Table:
    """The nearest items of a few items, side by side, best first."""
    table = Table(title="Related items", title_justify="left")
    for row in rows:
        table.add_column(Text(str(version.items["title"].iloc[row])), overflow="fold")
    columns = [[each.title for each in version.related(row, count)] for row in rows]
    for line in zip(*columns, strict=True):
        table.add_row(*map(Text, line))
    return table


def places_table(places: dict[str, str | Path]) -> Table:
    """Where things lie."""
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, place in places.items():
        table.add_row(name, Text(str(place)))
    return table


def _cost(event: StageEvent) -> str:
    memory = f"  peak {event.peak_mib:6,.0f} MiB" if event.peak_mib else ""
    note = f"  {event.note}" if event.note else ""
    return f"{event.seconds:7.1f} s{memory}{note}"


def _cell(cell: Cell) -> Text:
    value = Text(_short(cell.value), style="bold green" if cell.best else "")
    return value.append(f"\n{_short(cell.low)}–{_short(cell.high)}", style="dim not bold default")


def _short(value: float) -> str:
    """Three digits that count, without a leading zero: .491, .0505, 1.00."""
    digits = 4 if value < 0.0995 else 3
    return f"{value:.{digits}f}".removeprefix("0") if value < 0.9995 else f"{value:.2f}"
