"""The numbers of an evaluation as the report looks them up.

Read from results.parquet (one row a number) and metrics.json (counts, lifts, beyond accuracy);
nothing is measured here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pinsage.errors import ArtifactError
from pinsage.evaluation.metrics import headline_k
from pinsage.report.inputs import read_json

MODEL = "PinSage"
ALL = "all"
SUPPORT, POPULARITY, TIME = "support", "popularity", "time"
HIT_RATE, MRR, MRR_SCALED = "hit_rate", "mrr", "mrr_scaled"
TITLES = {"test": "Test", "valid": "Validation"}


class Number(NamedTuple):
    """A measured number and its interval; NaN where nothing was measured."""

    value: float
    low: float
    high: float
    num_pairs: int


class _Key(NamedTuple):
    method: str
    dimension: str
    slice: str
    metric: str
    k: int | None


_NOTHING = Number(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class Period:
    """One period's numbers.

    Attributes:
        name: `test` or `valid`
        methods: PinSage first, then the baselines as they are configured
        ks: the table's cut-offs, ascending
        curve_ks: the curve's cut-offs, ascending
        slices: of each dimension, its slices in the order of the file
        facts: metrics.json's own numbers about the period
        beyond: by method: coverage, gini, popularity, novelty, diversity
        lifts: by metric name (`hit_rate_100`): value, low, high of PinSage minus the best baseline
    """

    name: str
    methods: tuple[str, ...]
    ks: tuple[int, ...]
    curve_ks: tuple[int, ...]
    slices: Mapping[str, tuple[str, ...]]
    facts: Mapping[str, Any]
    beyond: Mapping[str, Mapping[str, float]]
    lifts: Mapping[str, Number]
    numbers: Mapping[_Key, Number] = field(repr=False)

    @property
    def title(self) -> str:
        """`Test` or `Validation`."""
        return TITLES[self.name]

    @property
    def baselines(self) -> tuple[str, ...]:
        """All methods but PinSage."""
        return tuple(method for method in self.methods if method != MODEL)

    @property
    def k(self) -> int:
        """The cut-off that choices are made on."""
        return headline_k(self.ks)

    @property
    def num_items(self) -> int:
        """N, the size of the catalog that was ranked."""
        return int(self.facts["num_items"])

    @property
    def num_pairs(self) -> int:
        """P, the number of pairs ranked."""
        return int(self.facts["num_pairs"])

    @property
    def mrr_block(self) -> int:
        """Ranks a block of the scaled MRR."""
        return int(self.facts["mrr_block"])

    @property
    def confidence(self) -> float:
        """Level of the intervals."""
        return float(self.facts["confidence"])

    def get(
        self, method: str, metric: str, k: int | None = None, *, dimension: str = ALL,
        part: str = ALL,
    ) -> Number:  # fmt: skip
        """A method's number; NaN where it was not measured."""
        return self.numbers.get(_Key(method, dimension, part, metric, k), _NOTHING)

    def headline(self, method: str, dimension: str = ALL, part: str = ALL) -> Number:
        """Hit-rate at the headline K."""
        return self.get(method, HIT_RATE, self.k, dimension=dimension, part=part)

    def best_baseline(self, metric: str, k: int | None = None) -> str | None:
        """The baseline with the highest value on all pairs, the first of equals."""
        values = {method: self.get(method, metric, k).value for method in self.baselines}
        known = {method: value for method, value in values.items() if not math.isnan(value)}
        return max(known, key=lambda method: known[method]) if known else None

    def num_pairs_in(self, dimension: str, part: str) -> int:
        """Pairs of a slice."""
        return max(self.headline(method, dimension, part).num_pairs for method in self.methods)

    def parts(self, dimension: str) -> tuple[str, ...]:
        """The slices of a dimension that hold any pair."""
        parts = self.slices.get(dimension, ())
        return tuple(part for part in parts if self.num_pairs_in(dimension, part))

    @property
    def column(self) -> str | None:
        """The catalog column that results are sliced by, if there is one."""
        own = {ALL, SUPPORT, POPULARITY, TIME}
        return next((name for name in self.slices if name not in own), None)


@dataclass(frozen=True)
class Evidence:
    """What an evaluation found; `tuning` holds every setting of a baseline that was tried."""

    test: Period
    valid: Period
    tuning: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        """From the evaluate artifact. Raises ArtifactError where it lacks what is needed."""
        metrics = read_json(folder / "metrics.json")
        file = folder / "results.parquet"
        try:
            rows = pq.read_table(file).to_pylist()
            periods = {name: _period(name, metrics, rows) for name in TITLES}
            tuning = tuple(metrics["tuning"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"{file}: does not hold the results of an evaluation ({error!r}); delete "
                f"{folder} and run again to rebuild it"
            ) from None
        return cls(periods["test"], periods["valid"], tuning)


def _period(name: str, metrics: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> Period:
    numbers: dict[_Key, Number] = {}
    slices: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["period"] != name:
            continue
        key = _Key(row["method"], row["dimension"], row["slice"], row["metric"], row["k"])
        value, low, high = (_float(row[bound]) for bound in ("value", "low", "high"))
        numbers[key] = Number(value, low, high, row["num_pairs"])
        slices.setdefault(key.dimension, {})[key.slice] = None
    found = dict.fromkeys(key.method for key in numbers)
    facts = metrics[name]
    return Period(
        name=name,
        methods=tuple(sorted(found, key=lambda method: method != MODEL)),
        ks=tuple(sorted(int(each.removeprefix("hit_rate_")) for each in facts["chance"])),
        curve_ks=tuple(sorted({key.k for key in numbers if key.k and key.dimension == ALL})),
        slices={dimension: _in_order(dimension, parts) for dimension, parts in slices.items()},
        facts=facts,
        beyond=facts["beyond"],
        lifts=_lifts(name, metrics["facts"], int(facts["num_pairs"])),
        numbers=numbers,
    )


def _in_order(dimension: str, parts: Iterable[str]) -> tuple[str, ...]:
    """Warm before rare before cold, 2 before 10; the values of a column as the file has them."""
    if dimension == SUPPORT:
        return tuple(sorted(parts, key=("warm", "rare", "cold").index))
    return tuple(sorted(parts, key=int) if dimension in (POPULARITY, TIME) else parts)


def _lifts(period: str, facts: Mapping[str, Any], num_pairs: int) -> dict[str, Number]:
    """`<period>_lift_<metric>` with its bounds, as the evaluation's facts hold them."""
    start = f"{period}_lift_"
    lifts = {}
    for name in facts:
        if name.startswith(start) and f"{name}_low" in facts:
            value, low, high = (_float(facts[f"{name}{bound}"]) for bound in ("", "_low", "_high"))
            lifts[name.removeprefix(start)] = Number(value, low, high, num_pairs)
    return lifts


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
