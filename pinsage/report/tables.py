"""The numbers behind the figures as tables: what a template needs to write, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pinsage.report.evidence import HIT_RATE, MODEL, MRR, MRR_SCALED, Number, Period
from pinsage.report.text import MINUS, NOTHING, count, decimal, fixed, is_missing, one_line, percent

# Beyond accuracy, of the top 10 lists: key, heading, what it means.
BEYOND = (
    ("coverage", "Coverage", "share of the catalog that is in at least one top 10"),
    ("gini", "Gini", "inequality of how often items are shown: 0 all alike, 1 one item only"),
    (
        "novelty",
        "Novelty",
        "mean surprise of an item shown, in bits: 1 bit more is half as popular",
    ),
    ("diversity", "Distance", "mean distance between two items of one list"),
    ("popularity", "Popularity", "mean number of training interactions of the items shown"),
)


@dataclass(frozen=True)
class Heading:
    """A column's heading, the small print below it, and what it means."""

    text: str
    small: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Cell:
    """A number; `order` sorts the column, `best` is the highest of the methods."""

    text: str
    small: str = ""
    order: float = -math.inf
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A method's numbers."""

    name: str
    strong: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Headings of the number columns, and a row a method."""

    headings: tuple[Heading, ...]
    rows: tuple[Row, ...]


def full_table(period: Period) -> Table:
    """Every method with every metric and its interval, and its lists beyond accuracy."""
    chance = [
        Heading(f"HR@{k}", f"chance {percent(k / period.num_items)}",
                f"share of pairs whose next item is among the {k} nearest")
        for k in period.ks
    ]  # fmt: skip
    block = f"blocks of {period.mrr_block}"
    accuracy = [(HIT_RATE, k) for k in period.ks] + [(MRR, None)]
    headings = [*chance, Heading("MRR", "", "mean of 1 / rank of the next item")]
    if period.mrr_block > 1:
        accuracy.append((MRR_SCALED, None))
        headings.append(Heading("MRR", block, f"mean of 1 / rank, the rank counted in {block}"))
    columns = [
        _marked([period.get(method, metric, k) for method in period.methods], k is not None)
        for metric, k in accuracy
    ]
    for key, heading, meaning in BEYOND:
        values = [period.beyond.get(method, {}).get(key) for method in period.methods]
        columns.append([_beyond(key, value) for value in values])
        headings.append(Heading(heading, "top 10", meaning))
    return Table(tuple(headings), _rows(period.methods, columns))


def slice_table(period: Period, dimension: str) -> Table:
    """Hit-rate at the headline K of every method in every slice of a dimension."""
    parts = period.parts(dimension)
    headings = [
        Heading(one_line(part, 40), f"{period.num_pairs_in(dimension, part):,} pairs")
        for part in parts
    ]
    columns = [
        _marked([period.headline(method, dimension, part) for method in period.methods], True)
        for part in parts
    ]
    return Table(tuple(headings), _rows(period.methods, columns))


@dataclass(frozen=True)
class Tried:
    """A setting of a baseline with its hit-rate and MRR on validation pairs."""

    baseline: str
    settings: str
    hit_rate: str
    mrr: str
    chosen: bool


def tuning_table(trials: Sequence[Mapping[str, Any]]) -> tuple[Tried, ...]:
    """Every setting that was tried, by baseline, the one that was chosen first."""
    first = {trial["baseline"]: number for number, trial in reversed(list(enumerate(trials)))}
    ordered = sorted(trials, key=lambda trial: (first[trial["baseline"]], not trial["chosen"]))
    return tuple(
        Tried(
            baseline=one_line(trial["baseline"]),
            settings=", ".join(_setting(*item) for item in trial["settings"].items()),
            hit_rate=percent(trial["hit_rate"]),
            mrr=decimal(trial["mrr"]),
            chosen=bool(trial["chosen"]),
        )
        for trial in ordered
    )


def _setting(name: str, value: Any) -> str:
    told = f"{value:g}".replace("-", MINUS) if isinstance(value, int | float) else str(value)
    return one_line(f"{name.replace('_', ' ')} {told}")


def _rows(methods: Sequence[str], columns: Sequence[Sequence[Cell]]) -> tuple[Row, ...]:
    return tuple(
        Row(method, method == MODEL, tuple(column[n] for column in columns))
        for n, method in enumerate(methods)
    )


def _marked(numbers: Sequence[Number], share: bool) -> list[Cell]:
    best = max((n.value for n in numbers if not is_missing(n.value)), default=math.nan)
    return [_cell(number, share, number.value == best) for number in numbers]


def _cell(number: Number, share: bool, best: bool) -> Cell:
    if is_missing(number.value):
        return Cell(NOTHING)
    if share:
        text, low, high = (fixed(100 * each, 1) for each in number[:3])
    else:
        text, low, high = (decimal(each) for each in number[:3])
    small = "" if is_missing(number.low) else f"{low}–{high}"
    return Cell(text, small, number.value, best)


def _beyond(key: str, value: float | None) -> Cell:
    if value is None or is_missing(value):
        return Cell(NOTHING)
    if key == "coverage":
        return Cell(fixed(100 * value, 1), order=value)
    text = count(value) if key == "popularity" and value >= 100 else fixed(value, 2)
    return Cell(fixed(value, 1) if key in ("popularity", "novelty") and value < 100 else text,
                order=value)  # fmt: skip
