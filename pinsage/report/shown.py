"""What the templates are given: findings turned into words, numbers and ready-made SVG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pinsage.report.cards import data_card, model_card
from pinsage.report.cosines import PAPER, reading
from pinsage.report.evidence import POPULARITY, SUPPORT, TIME, Period
from pinsage.report.figures.style import svg
from pinsage.report.figures.training import best_epoch, metric_name
from pinsage.report.findings import Findings
from pinsage.report.inputs import ReportInputs
from pinsage.report.page import embedded_json
from pinsage.report.tables import Table, full_table, slice_table, tuning_table
from pinsage.report.text import (
    NOTHING,
    column_name,
    count,
    day,
    decimal,
    duration,
    fixed,
    one_line,
    percent,
)
from pinsage.report.verdict import Comparison, Track, judge, judge_contract, overall

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MAP_TITLE = 60  # characters of a title in the map: thousands of them are in the page


def shown(inputs: ReportInputs, found: Findings, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """The context of page.html."""
    test, valid = found.evidence.test, found.evidence.valid
    edges = test.facts.get("time_edges")
    return {
        "name": inputs.config.name,
        "date": day(inputs.provenance.created),
        "code": one_line(inputs.provenance.code, 60),
        "champion": one_line(found.champion, 60) if found.champion else None,
        "verdicts": [_verdict(comparison) for comparison in (*judge(test), *judge(valid))],
        "gates": [judge_contract(contract) for contract in inputs.contracts],
        "overall": overall(*judge(test)),
        "column": column_name(test.column) if test.column else None,
        "test": test,
        "valid": valid,
        "stretch": [day(edge) for edge in (edges[0], edges[-1])] if edges else None,
        "pairs": {period.name: count(period.num_pairs) for period in (test, valid)},
        "interval": f"{100 * test.confidence:g} %",
        "figures": {name: svg(figure, name) for name, figure in figures.items()},
        "tables": {"test": full_table(test), "valid": full_table(valid), **_slices(test)},
        "tuning": tuning_table(found.evidence.tuning),
        "spread": _spread(found),
        "training": _training(found),
        "map": _map(found),
        "cards": found.cards,
        "unknown": [one_line(each, 60) for each in found.queries.unknown],
        "num_items": count(len(found.catalog)),
        "data": data_card(inputs),
        "model": model_card(inputs, found.history),
    }


def _verdict(comparison: Comparison) -> dict[str, Any]:
    return {"told": comparison, "track": Track.of(comparison)}


def _slices(period: Period) -> dict[str, Table]:
    wanted = {POPULARITY: POPULARITY, SUPPORT: SUPPORT, TIME: TIME, "column": period.column}
    return {
        name: slice_table(period, dimension)
        for name, dimension in wanted.items()
        if dimension is not None and period.parts(dimension)
    }


def _spread(found: Findings) -> dict[str, Any]:
    cosines = found.cosines
    figures = {"this embedding": cosines.kurtosis}
    figures |= {f"the paper’s {name} embeddings": value for name, value in PAPER.items()}
    return {
        "reading": reading(cosines),
        "num_pairs": count(cosines.num_pairs),
        "kurtosis": [(name, fixed(value)) for name, value in figures.items()],
    }


def _training(found: Findings) -> dict[str, Any]:
    best = found.history[best_epoch(found.history, found.metric)]
    seconds = sum(float(report["seconds"]) for report in found.history)
    shares = found.metric.startswith("hit_rate")
    return {
        "metric": metric_name(found.metric),
        "best": best["epoch"],
        "epochs": [
            {
                "number": report["epoch"],
                "loss": NOTHING if report["loss"] is None else decimal(report["loss"]),
                "value": (percent if shares else decimal)(report["metrics"][found.metric]),
                "seconds": duration(report["seconds"]),
            }
            for report in found.history
        ],
        "seconds": duration(seconds),
    }


def _map(found: Findings) -> dict[str, Any]:
    rows = found.projection.rows.tolist()
    points = found.projection.points
    groups = found.groups
    numbers = [sum(groups.of[row] == n for row in rows) for n in range(len(groups.labels))]
    return {
        "column": column_name(groups.column) if groups.column else None,
        "labels": [
            {"text": label, "num": count(num)}
            for label, num in zip(groups.labels, numbers, strict=True)
        ],
        "num": count(len(rows)),
        "explained": [percent(share) for share in found.projection.explained],
        "both": percent(sum(found.projection.explained)),
        "json": embedded_json(
            {
                "x": points[:, 0].tolist(),
                "y": points[:, 1].tolist(),
                "group": [groups.of[row] for row in rows],
                "title": [found.catalog.title(row, _MAP_TITLE) for row in rows],
                "labels": groups.labels,
            }
        ),
    }
