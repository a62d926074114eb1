"""The last nights side by side, out of the records of their runs: a chart and a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import artifacts
from flows.promotion import Challenger, Settled
from flows.results import read_periods
from flows.session import MODEL, Run
from pinsage.errors import MissingExtraError
from pinsage.evaluation.metrics import headline_metric, metric_label
from pinsage.report.figures.style import png
from pinsage.report.figures.trend import NightPoint, trend_figure
from pinsage.report.text import decimal

NIGHTS = 30
_FLOWS = ("nightly", "publish")
_log = logging.getLogger(__name__)


def show_trend(run: Run, made: Challenger, settled: Settled) -> None:
    """Note tonight in the run's record, and show it behind the nights before."""
    tonight = night_of(made, settled)
    run.book.outcome["night"] = tonight
    nights = [*nights_before(run.config.root, run.config.name), tonight][-NIGHTS:]
    points = [_point(night) for night in nights]
    artifacts.show_trend(to_markdown(points), run.tracker.url)
    try:
        figure = trend_figure(points)
    except MissingExtraError as error:
        _log.warning("no chart of the nights: %s", error)
        return
    run.tracker.parent.figure("figures/trend.png", lambda file: png(figure, file))


def night_of(made: Challenger, settled: Settled) -> dict[str, Any]:
    """What the chart needs of a night, as JSON."""
    test = next(p for p in read_periods(made.evaluated) if p.title == "Test")
    cells, ingested = test.cells[MODEL], made.data.ingested
    ks = tuple(int(m.removeprefix("hit_rate_")) for m in test.metrics if m.startswith("hit_rate_"))
    return {
        "until": str(ingested.facts["last_time"]),
        "version": settled.version.name,
        "verdict": settled.verdict,
        "promoted": settled.promoted,
        "metrics": {
            name: [cells[name].value, cells[name].low, cells[name].high]
            for name in (headline_metric(ks), "mrr")
        },
        "rows": int(ingested.facts["num_interactions"]),
        "items": int(ingested.facts["num_items"]),
        "overlap": settled.version.stability.get("overlap_10"),
    }


def nights_before(root: Path, name: str) -> list[dict[str, Any]]:
    """The nights of a data set that went through, the oldest first; a broken record is no night.

    A night that was run again over the same data, with the same version, is one night.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in _records(root):
        night = record.get("night")
        is_ours = record.get("name") == name and record.get("flow") in _FLOWS
        if is_ours and record.get("state") == "completed" and isinstance(night, dict):
            found[str(night.get("until")), str(night.get("version"))] = night
    return list(found.values())


def to_markdown(points: Sequence[NightPoint]) -> str:
    """The newest night first."""
    names = list(points[-1].metrics)
    head = ["until", "verdict", *(metric_label(name) for name in names), "rows", "items", "overlap"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for point in reversed(points):
        cells = [point.label, point.verdict]
        for name in names:
            value = point.metrics.get(name)
            cells.append("–" if value is None else _with_interval(*value))
        overlap = "–" if point.overlap is None else f"{point.overlap:.3f}"
        cells += [f"{point.rows:,}", f"{point.items:,}", overlap]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{decimal(value)} {decimal(low)}–{decimal(high)}"


def _records(root: Path) -> Iterator[Mapping[str, Any]]:
    for file in sorted((root / "runs").glob("[!.]*.json")):  # named by time
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(document, dict):
            yield document


def _point(night: Mapping[str, Any]) -> NightPoint:
    return NightPoint(
        label=str(night["until"])[:10],
        verdict="promote" if night["promoted"] else str(night["verdict"]),
        metrics={
            name: (float(v), float(lo), float(hi)) for name, (v, lo, hi) in night["metrics"].items()
        },
        rows=int(night["rows"]),
        items=int(night["items"]),
        overlap=None if night["overlap"] is None else float(night["overlap"]),
    )
