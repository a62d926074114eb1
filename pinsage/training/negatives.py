"""Negatives: items drawn once a step, the positives of other pairs, and hard ones (PinSage §3.3).

Every draw is a pure function of (seed, epoch, first pair of the step). Negatives of a step are
distinct, and how likely each was to be among them is known exactly, which is what the sampled
softmax corrects by.

Shapes: N items, P pairs, M negatives of a step, H hard negatives kept a query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.config import NegativesConfig
from pinsage.data.pairs import Pairs
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.visits import rank_windows

Rows = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]

_KEPT = 64  # hard negatives kept a query, out of its window


@dataclass(frozen=True)
class SharedNegatives:
    """Draws the negatives of a step.

    Attributes:
        candidates: int32 [C], item rows
        chance: float64 [C], how likely each is drawn in a step
        positive_share: float64 [N], share of the pairs that have an item as positive; None where
            positives are no negatives
        size: draws a step
        seed: with the epoch and the first pair, what the draw depends on
    """

    candidates: Rows
    chance: Float64
    size: int
    seed: int
    positive_share: Float64 | None = None

    @classmethod
    def of(
        cls,
        degree: npt.NDArray[np.int64],
        positive_row: Rows,
        config: NegativesConfig,
        seed: int,
    ) -> SharedNegatives:
        """Candidates are the items with a training context.

        Items nobody has touched are no evidence of dislike; as negatives they would only be pushed
        away from everything, and cold items must stay recommendable.
        """
        candidates = np.flatnonzero(degree > 0).astype(np.int32)
        size = min(config.shared, len(candidates))
        counts = np.bincount(positive_row, minlength=len(degree))
        return cls(
            candidates,
            inclusion_chances(degree[candidates].astype(np.float64) ** config.power, size),
            size,
            seed,
            counts / counts.sum() if config.in_batch else None,
        )

    def draw(self, epoch: int, first_pair: int, positive_row: Rows) -> Rows:
        """Distinct item rows for the step that begins with `first_pair`, int32 [M].

        `positive_row` are the positives of the step's pairs.
        """
        rng = np.random.Generator(np.random.Philox([self.seed, epoch, first_pair]))
        if np.ptp(self.chance) == 0:
            drawn = rng.choice(self.candidates, self.size, replace=False, shuffle=False)
        else:
            drawn = self.candidates[_systematic(self.chance, self.size, rng)]
        if self.positive_share is None:
            return drawn
        others = np.setdiff1d(positive_row, drawn).astype(np.int32)
        return np.concatenate([drawn, others])

    def log_chance(self, num_items: int, num_pairs: int) -> npt.NDArray[np.float32]:
        """Log P(item is among the negatives of a step of `num_pairs` pairs), float32 [N].

        0 for items that never are. Pairs are taken to be independent draws.
        """
        absent = np.ones(num_items)
        absent[self.candidates] -= self.chance
        if self.positive_share is not None:
            absent *= (1.0 - self.positive_share) ** num_pairs
        present = 1.0 - absent
        return np.log(np.where(present > 0, present, 1.0)).astype(np.float32)


def inclusion_chances(weight: Float64, size: int) -> Float64:
    """Chances in proportion to `weight`, none above 1, that sum to `size`; float64 [C]."""
    chance = np.zeros(len(weight))
    certain = np.zeros(len(weight), dtype=np.bool_)
    while size and len(weight):
        rest = size - int(certain.sum())
        open_weight = np.where(certain, 0.0, weight)
        chance = np.where(certain, 1.0, rest * open_weight / max(open_weight.sum(), 1e-300))
        above = (chance > 1.0) & ~certain
        if not above.any():
            break
        certain |= above
    return np.minimum(chance, 1.0)


def _systematic(chance: Float64, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Places drawn without repeats, each with its very chance (Madow 1949); int64 [size].

    The chances are laid end to end in random order, and a comb of step 1 falls on them.
    """
    order = rng.permutation(len(chance))
    ends = np.cumsum(chance[order])
    teeth = rng.random() + np.arange(size)
    places = np.searchsorted(ends, teeth * (ends[-1] / size), side="right")
    drawn: npt.NDArray[np.int64] = order[np.minimum(places, len(order) - 1)]
    return drawn


@dataclass(frozen=True)
class HardNegatives:
    """Items related to a query, but less than its positives.

    Attributes:
        rows: int32 [N, H], of each query's window, -1 where it has fewer
        most: hard negatives a query at most
        curriculum: whether epoch n (from 1) takes n - 1
        seed: with the epoch and the first pair, what a draw depends on
    """

    rows: Rows
    most: int
    curriculum: bool
    seed: int

    @classmethod
    def of(
        cls, graph: BipartiteGraph, positives: PositiveSets, config: NegativesConfig, seed: int
    ) -> HardNegatives:
        """Rank items by walks from each query, and keep a sample of the window without positives.

        `graph` is the training period's. A query that reaches fewer items has fewer, or none.
        """
        first, last = (
            round(edge * graph.num_items) if config.hard_to <= 1 else round(edge)
            for edge in (config.hard_from, config.hard_to)
        )
        rows = rank_windows(
            graph, positives.indptr, positives.indices, walks=config.hard_walks,
            first=first, last=max(last, first + 1), size=_KEPT, seed=seed,
        )  # fmt: skip
        return cls(rows, config.hard, config.curriculum, seed)

    def draw(self, epoch: int, first_pair: int, query_row: Rows) -> Rows:
        """Item rows for each query of a step, int32 [P, h], -1 where there is none; epoch from 0.

        Without repeats in a row as long as the window has enough.
        """
        size = min(epoch, self.most) if self.curriculum else self.most
        pool = self.rows[query_row]
        filled = (pool >= 0).sum(axis=1, keepdims=True)
        rng = np.random.Generator(np.random.Philox([self.seed, epoch, first_pair, size]))
        start = rng.integers(0, np.maximum(filled, 1))
        # The pool's order is random, so that neighbours in it are a random choice.
        place = (start + np.arange(size)) % np.maximum(filled, 1)
        drawn: Rows = np.take_along_axis(pool, place, axis=1)
        return np.where(np.arange(size) < filled, drawn, -1).astype(np.int32)


class PositiveSets:
    """The positives of every query, as a CSR, to keep them from being its negatives.

    Attributes:
        indptr: int64 [N + 1]
        indices: int32, item rows, ascending in each query
    """

    def __init__(self, pairs: Pairs, num_items: int) -> None:
        packed = np.unique(pairs.query_row.astype(np.int64) * num_items + pairs.positive_row)
        query, positive = np.divmod(packed, num_items)
        self.indices = positive.astype(np.int32)
        self.indptr = np.zeros(num_items + 1, dtype=np.int64)
        np.cumsum(np.bincount(query, minlength=num_items), out=self.indptr[1:])
        self._stamp = np.full(num_items, -1, dtype=np.int64)

    def allowed(
        self, query_P: npt.NDArray[np.integer], negative_M: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.bool_]:
        """Bool [P, M]: False where a negative is the query or one of its positives."""
        mask = np.ones((len(query_P), len(negative_M)), dtype=np.bool_)
        _forbid(query_P, negative_M, self.indptr, self.indices, self._stamp, mask)
        return mask


def not_the_pair(
    query_P: npt.NDArray[np.integer],
    positive_P: npt.NDArray[np.integer],
    negative_M: npt.NDArray[np.integer],
) -> npt.NDArray[np.bool_]:
    """Bool [P, M]: False where a negative is one of the pair's own two items."""
    own = (negative_M == query_P[:, None]) | (negative_M == positive_P[:, None])
    allowed: npt.NDArray[np.bool_] = ~own
    return allowed


@numba.njit(cache=True, nogil=True)
def _forbid(query: Any, negative: Any, indptr: Any, positive: Any, stamp: Any, mask: Any) -> None:
    for column, item in enumerate(negative):
        stamp[item] = column
    for row, item in enumerate(query):
        if stamp[item] >= 0:
            mask[row, stamp[item]] = False
        for other in positive[indptr[item] : indptr[item + 1]]:
            if stamp[other] >= 0:
                mask[row, stamp[other]] = False
    for item in negative:
        stamp[item] = -1
