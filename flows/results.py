"""The evaluation of a run, as rows for people: PinSage beside the baselines, with intervals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pinsage.evaluation.metrics import metric_label
from pinsage.promotion.record import inert
from pinsage.store import Artifact

PERIODS = {"valid": "Validation", "test": "Test"}


@dataclass(frozen=True)
class Cell:
    """A measured number and its interval; `best` says that no method has a higher one."""

    value: float
    low: float
    high: float
    best: bool


@dataclass(frozen=True)
class Period:
    """One period's table: `cells` by method and metric, over all pairs."""

    title: str
    metrics: list[str]
    chance: dict[str, float]
    confidence: float
    num_pairs: int
    num_users: int
    num_items: int
    cells: dict[str, dict[str, Cell]]


def read_periods(evaluated: Artifact) -> list[Period]:
    """Validation and test of an evaluation's metrics.json."""
    document = json.loads(evaluated.file("metrics.json").read_text(encoding="utf-8"))
    return [_period(title, document[key]) for key, title in PERIODS.items()]


def table_rows(periods: list[Period]) -> Iterator[dict[str, Any]]:
    """One row a period and method, for a table that can be sorted; intervals beside the values."""
    for period in periods:
        for method, cells in period.cells.items():
            yield {
                "period": period.title,
                "method": method,
                **{metric_label(name): f"{cell.value:.4f}" for name, cell in cells.items()},
                "interval of MRR": f"{cells['mrr'].low:.4f} to {cells['mrr'].high:.4f}",
            }


def decision_text(decided: Artifact, verdict: str, reason: str) -> str:
    """The gate's rules; where a person has answered since, their word instead of the question."""
    markdown = decided.file("decision.md").read_text(encoding="utf-8")
    if verdict == decided.facts["verdict"]:
        return markdown
    _asked, _, rules = markdown.partition("\n")
    return f"**Decided since: {inert(reason)}.**\n{rules}"


def headline(evaluated: Artifact) -> dict[str, float]:
    """The numbers a run is judged by."""
    return {
        name: float(value)
        for name, value in evaluated.facts.items()
        if isinstance(value, int | float) and name.startswith(tuple(PERIODS))
    }


def verdicts(evaluated: Artifact) -> Iterator[str]:
    """PinSage against each period's best baseline: a line a metric, intervals paired by user."""
    facts, marker = evaluated.facts, "_lift_"
    for key, title in PERIODS.items():
        for name in [n for n in facts if n.startswith(f"{key}{marker}") and f"{n}_low" in facts]:
            metric = name.removeprefix(f"{key}{marker}")
            low, high = facts[f"{name}_low"], facts[f"{name}_high"]
            verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
            yield (
                f"{title} {metric_label(metric)}: PinSage {facts[f'{key}_{metric}']:.4f}, best "
                f"baseline {facts[f'{key}_best_baseline_{metric}']:.4f}; difference "
                f"{facts[name]:+.4f} ({low:+.4f} to {high:+.4f}): {verdict}"
            )


def _period(title: str, document: dict[str, Any]) -> Period:
    methods = document["methods"]
    metrics = list(next(iter(methods.values())))
    best = {metric: max(found[metric]["value"] for found in methods.values()) for metric in metrics}
    return Period(
        title=title,
        metrics=metrics,
        chance=document["chance"],
        confidence=document["confidence"],
        num_pairs=document["num_pairs"],
        num_users=document["num_users"],
        num_items=document["num_items"],
        cells={
            name: {m: Cell(**found[m], best=found[m]["value"] == best[m]) for m in metrics}
            for name, found in methods.items()
        },
    )
