"""An ablation as rows and as Markdown: what each row is, what it reaches, what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinsage.ablation.comparison import Comparison
from pinsage.ablation.variants import Plan, Variant
from pinsage.evaluation.bootstrap import Interval
from pinsage.evaluation.metrics import metric_label
from pinsage.report.text import NOTHING, decimal, duration, is_missing, plural

GROUPS = {
    "table-1": "The rows of the paper's Table 1",
    "neighbourhoods": "Neighbourhoods of T items",
    "batches": "Pairs a minibatch",
}


@dataclass(frozen=True)
class Cost:
    """What a row's trainings took, means over the seeds; seconds are of training steps alone."""

    epochs: float
    best_epoch: float
    seconds: float

    @classmethod
    def of(cls, histories: Sequence[Sequence[Mapping[str, Any]]], metric: str) -> Cost:
        """From the history.json of each seed; the best epoch is the one validation chose."""
        best = [max(each, key=lambda report: report["metrics"][metric]) for each in histories]
        return cls(
            epochs=_mean([len(each) for each in histories]),
            best_epoch=_mean([report["epoch"] for report in best]),
            seconds=_mean([sum(report["seconds"] for report in each) for each in histories]),
        )


def to_rows(
    plan: Plan, periods: Mapping[str, Comparison], costs: Mapping[str, Cost]
) -> Iterator[dict[str, Any]]:
    """One row a period, variant and metric.

    Columns: period, group, variant, metric, value, low, high, difference (to the reference),
    difference_low, difference_high, seed_sd, seed_values, num_seeds, num_pairs, num_users,
    num_items, epochs, best_epoch, seconds. `seed_sd` is None of a single seed.
    """
    for period, found in periods.items():
        for variant in plan.variants:
            for metric in found.metrics:
                value, lift = (
                    found.get(variant.name, metric),
                    found.difference(variant.name, metric),
                )
                spread, cost = found.spread(variant.name, metric), costs[variant.name]
                yield {
                    "period": period, "group": variant.group, "variant": variant.name,
                    "metric": metric, "value": value.value, "low": value.low, "high": value.high,
                    "difference": lift.value, "difference_low": lift.low,
                    "difference_high": lift.high,
                    "seed_sd": None if is_missing(spread) else spread,
                    "seed_values": list(found.by_seed[variant.name, metric]),
                    "num_seeds": len(plan.seeds), "num_pairs": found.num_pairs,
                    "num_users": found.num_users, "num_items": found.num_items,
                    "epochs": cost.epochs, "best_epoch": cost.best_epoch, "seconds": cost.seconds,
                }  # fmt: skip


def to_markdown(
    plan: Plan, periods: Mapping[str, tuple[str, Comparison]], costs: Mapping[str, Cost]
) -> str:
    """A section a period (title and numbers by name), in it a table a group."""
    return "\n".join(
        part for title, found in periods.values() for part in _section(plan, title, found, costs)
    )


def _section(plan: Plan, title: str, found: Comparison, costs: Mapping[str, Cost]) -> Iterator[str]:
    seeds = plural(len(plan.seeds), "seed")
    yield f"## {title}\n"
    yield (
        f"{found.num_pairs:,} pairs of {found.num_users:,} users over {found.num_items:,} items. "
        f"Means of {seeds}; {found.estimates.confidence:.0%} intervals by bootstrap over users; "
        f"± is the standard deviation over the seeds; differences are paired, to "
        f"{found.reference}. The epoch was chosen on validation, nothing on test.\n"
    )
    for group, heading in GROUPS.items():
        rows = [variant for variant in plan.variants if variant.group == group]
        if rows:
            yield f"### {heading}\n"
            yield from _table(rows, found, costs)
            yield ""


def _table(rows: Sequence[Variant], found: Comparison, costs: Mapping[str, Cost]) -> Iterator[str]:
    head = metric_label(found.headline)
    header = [
        "variant", f"{head} − {found.reference}'s",
        *(metric_label(metric) for metric in found.metrics),
        f"± {head}", "epochs (best)", "training",
    ]  # fmt: skip
    yield f"| {' | '.join(header)} |"
    yield f"|---{'|--:' * (len(header) - 1)}|"
    for variant in rows:
        yield f"| {' | '.join(_cells(variant.name, found, costs[variant.name]))} |"


def _cells(name: str, found: Comparison, cost: Cost) -> Iterator[str]:
    yield f"**{name}**" if name == found.reference else name
    yield NOTHING if name == found.reference else _signed(found.difference(name, found.headline))
    for metric in found.metrics:
        number = found.get(name, metric)
        yield f"{decimal(number.value)} {decimal(number.low)}–{decimal(number.high)}"
    yield decimal(found.spread(name, found.headline))
    yield f"{cost.epochs:.1f} ({cost.best_epoch:.1f})"
    yield duration(cost.seconds)


def _signed(lift: Interval) -> str:
    value, low, high = (decimal(each, sign=True) for each in (lift.value, lift.low, lift.high))
    return f"{value} ({low} to {high})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
