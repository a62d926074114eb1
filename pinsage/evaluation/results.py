"""What an evaluation found: every number with its interval, and paired differences of methods."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.bootstrap import Array, Interval, Ratios
from pinsage.evaluation.metrics import coverage, gini, intra_list_distance, novelty
from pinsage.evaluation.ranking import Ranking
from pinsage.evaluation.slices import ALL, Categories, Degree, Part

Vectors = npt.NDArray[np.float32]


class Key(NamedTuple):
    """One measured number: `metric` is `hit_rate_<K>`, `mrr` or `mrr_scaled`."""

    method: str
    part: Part
    metric: str


@dataclass(frozen=True)
class Catalog:
    """What is known of the items from the time before the evaluated period.

    Attributes:
        degree: int64 [N], training contexts of each item
        num_contexts: C
        categories: of one column, where the catalog has one
        content: float32 [N, d], a space of content in which no method was trained, or None
    """

    degree: Degree
    num_contexts: int
    categories: Categories | None = None
    content: Vectors | None = None

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.degree)


@dataclass(frozen=True)
class Beyond:
    """What a method's top 10 look like over the distinct queries, each counted once.

    Attributes:
        coverage: share of the catalog that is in at least one top 10
        gini: inequality of how often items are shown, 0 (all alike) to nearly 1 (one item only)
        popularity: mean training degree of the items shown
        novelty: mean self-information of the items shown, in bits
        diversity: mean distance between the items of a list by content; NaN without a catalog
    """

    coverage: float
    gini: float
    popularity: float
    novelty: float
    diversity: float

    @classmethod
    def of(cls, ranking: Ranking, catalog: Catalog) -> Beyond:
        """From the top 10 of a ranking."""
        lists, content = ranking.top, catalog.content
        shown = np.bincount(lists.ravel(), minlength=catalog.num_items)
        return cls(
            coverage=coverage(shown),
            gini=gini(shown),
            popularity=float(catalog.degree[lists].mean()),
            novelty=novelty(lists, catalog.degree, catalog.num_contexts),
            diversity=float("nan") if content is None else intra_list_distance(lists, content),
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
        sums: dict[Key, Array],
        counts: dict[Part, Array],
        *,
        resamples: int,
        confidence: float,
        seed: int,
    ) -> Estimates:
        """Bootstrap over users: each key's sums, float64 [U], over its slice's counts."""
        groups = {part: number for number, part in enumerate(counts)}
        ratios = Ratios(
            sums=np.stack(list(sums.values()), axis=1),
            counts=np.stack(list(counts.values()), axis=1),
            group=np.array([groups[key.part] for key in sums]),
        )
        columns = {key: column for column, key in enumerate(sums)}
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
        parts: number of pairs of every slice, all pairs first
        beyond: by method, what its top 10 look like
        time_edges: int64 [6], µs, ends of the fifths of the period; empty without times
    """

    methods: tuple[str, ...]
    ks: tuple[int, ...]
    curve_ks: tuple[int, ...]
    mrr_block: int
    num_items: int
    num_users: int
    num_queries: int
    parts: dict[Part, int]
    beyond: dict[str, Beyond]
    time_edges: tuple[int, ...]
    estimates: Estimates

    @property
    def num_pairs(self) -> int:
        """P, the number of pairs ranked."""
        return self.parts[ALL]

    @property
    def dimensions(self) -> tuple[str, ...]:
        """What the pairs are sliced by, without `all`."""
        return tuple(dict.fromkeys(part.dimension for part in self.parts if part != ALL))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the table's metrics."""
        return (*(f"hit_rate_{k}" for k in self.ks), "mrr", "mrr_scaled")

    def get(self, method: str, metric: str, part: Part = ALL) -> Interval:
        """A method's metric, on all pairs or a slice."""
        return self.estimates.interval(Key(method, part, metric))

    def difference(self, method: str, other: str, metric: str, part: Part = ALL) -> Interval:
        """By how much `method` is above `other` on the same pairs, with its interval."""
        return self.estimates.difference(Key(method, part, metric), Key(other, part, metric))

    def best(self, metric: str, methods: Sequence[str]) -> str:
        """The method with the highest value on all pairs; the first of equals."""
        return max(methods, key=lambda method: self.get(method, metric).value)
