"""What an evaluation found: every number with its interval, and paired differences of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.bootstrap import Array, Clusters, Interval, Ratios
from pinsage.evaluation.ranking import Ranking

ALL = "all"
_WARM_DEGREE = 10

Degree = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Key(NamedTuple):
    """One measured number: `metric` is `hit_rate_<K>`, `mrr` or `mrr_scaled`."""

    method: str
    slice: str
    metric: str


@dataclass(frozen=True)
class Beyond:
    """What a method's top 10 look like over the distinct queries, each counted once.

    Attributes:
        coverage: share of the catalog that is in at least one top 10
        gini: inequality of how often items are shown, 0 (all alike) to nearly 1 (one item only)
        popularity: mean training degree of the items shown
    """

    coverage: float
    gini: float
    popularity: float

    @classmethod
    def of(cls, ranking: Ranking, degree: Degree) -> Beyond:
        """From the top 10 of a ranking and the items' training degree, int64 [N]."""
        shown = np.bincount(ranking.top.ravel(), minlength=len(degree))
        return cls(
            coverage=float((shown > 0).mean()),
            gini=gini(shown),
            popularity=float(degree[ranking.top].mean()),
        )


@dataclass(frozen=True)
class Estimates:
    """Means over pairs and their bootstrap replicates; all columns share their resamples.

    Attributes:
        columns: where each key's numbers are
        values: float64 [M]
        replicates: float64 [R, M]
        confidence: level of the intervals
    """

    columns: dict[Key, int]
    values: Array
    replicates: Array
    confidence: float

    @classmethod
    def of(
        cls,
        user_sums: dict[Key, Array],
        counts: dict[str, Array],
        *,
        resamples: int,
        confidence: float,
        seed: int,
    ) -> Estimates:
        """Bootstrap over users: each key's sums, float64 [U], over its slice's counts."""
        groups = {part: number for number, part in enumerate(counts)}
        ratios = Ratios(
            sums=np.stack(list(user_sums.values()), axis=1),
            counts=np.stack(list(counts.values()), axis=1),
            group=np.array([groups[key.slice] for key in user_sums]),
        )
        columns = {key: column for column, key in enumerate(user_sums)}
        return cls(columns, ratios.estimate(), ratios.bootstrap(resamples, seed), confidence)

    def interval(self, key: Key) -> Interval:
        """A number with its interval."""
        column = self.columns[key]
        value = float(self.values[column])
        return Interval.of(value, self.replicates[:, column], self.confidence)

    def difference(self, key: Key, other: Key) -> Interval:
        """`key` minus `other`, with the interval of the paired bootstrap."""
        first, second = self.columns[key], self.columns[other]
        return Interval.of(
            float(self.values[first] - self.values[second]),
            self.replicates[:, first] - self.replicates[:, second],
            self.confidence,
        )


@dataclass(frozen=True)
class Results:
    """One period's table.

    Attributes:
        methods: names in the order of the scorers
        ks: cut-offs of the table, ascending
        curve_ks: cut-offs of the curve, ascending; holds all of `ks`
        slices: number of pairs of `all`, `warm`, `rare` and `cold`, in this order
        beyond: by method, coverage and popularity of the top 10
    """

    methods: tuple[str, ...]
    ks: tuple[int, ...]
    curve_ks: tuple[int, ...]
    mrr_block: int
    num_items: int
    num_users: int
    num_queries: int
    slices: dict[str, int]
    beyond: dict[str, Beyond]
    estimates: Estimates

    @property
    def num_pairs(self) -> int:
        """P, the number of pairs ranked."""
        return self.slices[ALL]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the table's metrics."""
        return (*(f"hit_rate_{k}" for k in self.ks), "mrr", "mrr_scaled")

    def get(self, method: str, metric: str, part: str = ALL) -> Interval:
        """A method's metric, on all pairs or a slice."""
        return self.estimates.interval(Key(method, part, metric))

    def difference(self, method: str, other: str, metric: str, part: str = ALL) -> Interval:
        """By how much `method` is above `other` on the same pairs, with its interval."""
        return self.estimates.difference(Key(method, part, metric), Key(other, part, metric))

    def best(self, metric: str, methods: Sequence[str]) -> str:
        """The method with the highest value on all pairs; the first of equals."""
        return max(methods, key=lambda method: self.get(method, metric).value)


def slice_masks(positive_degree: Degree) -> dict[str, Mask]:
    """Which pairs are in a slice, by the positive's training degree: bool [P] each.

    `warm` has 10 or more, `rare` 1 to 9, `cold` none; `all` holds the three.
    """
    return {
        ALL: np.ones(len(positive_degree), dtype=np.bool_),
        "warm": positive_degree >= _WARM_DEGREE,
        "rare": (positive_degree > 0) & (positive_degree < _WARM_DEGREE),
        "cold": positive_degree == 0,
    }


def slice_counts(masks: dict[str, Mask], clusters: Clusters) -> dict[str, Array]:
    """Pairs of each user in each slice, float64 [U] each."""
    return {part: clusters.sums(mask) for part, mask in masks.items()}


def gini(counts: npt.NDArray[np.int64]) -> float:
    """Gini coefficient of non-negative counts: mean absolute difference over twice the mean."""
    total = int(counts.sum())
    if total == 0:
        return 0.0
    size = len(counts)
    place = 2 * np.arange(1, size + 1) - size - 1
    return float((place * np.sort(counts)).sum() / (size * total))
