"""Ranks of positives over the full catalog, streamed over blocks of queries (PinSage §4.2).

Every distinct query is scored once, whatever the number of its pairs, and no more than one block
of scores is held. A rank counts all items but the query itself; ties stand in the middle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numba
import numpy as np
import numpy.typing as npt

from pinsage.errors import ContractError, TrainingError

Rows = npt.NDArray[np.int32]
Scores = npt.NDArray[np.float32]

Rank = Callable[[Rows, npt.NDArray[np.int64], Rows, int], tuple[npt.NDArray[np.float64], Rows]]

TOP = 10
_MAX_SCORES = 1 << 26  # 256 MiB of float32 a block, however large the catalog


class Scorer(Protocol):
    """Scores every item of the catalog for a query; a higher score ranks first."""

    @property
    def name(self) -> str:
        """What tables and plots call it."""

    def score(self, query_rows: Rows) -> Scores:
        """Finite float32 [B, N]; a row depends on its query alone, not on the others."""


@runtime_checkable
class RanksItself(Protocol):
    """A scorer that finds ranks without a score for every item at hand."""

    def rank(
        self, query_rows: Rows, bounds: npt.NDArray[np.int64], positives: Rows, top: int
    ) -> tuple[npt.NDArray[np.float64], Rows]:
        """Ranks, float64 [P], and each query's best items, int32 [Q, min(top, N - 1)].

        The pairs bounds[q] to bounds[q + 1] belong to query q; `rank_pairs` says what a rank is.
        """


@dataclass(frozen=True)
class Ranking:
    """What one pass over the queries of a period found.

    Attributes:
        ranks: float64 [P], of each pair's positive
        query_row: int32 [Q], the distinct queries, ascending
        top: int32 [Q, min(10, N - 1)], each query's best items; ties go to the smaller row
    """

    ranks: npt.NDArray[np.float64]
    query_row: Rows
    top: Rows


def rank_pairs(
    scorer: Scorer, query_row: Rows, positive_row: Rows, num_items: int, block: int
) -> npt.NDArray[np.float64]:
    """Rank of each positive among all items but its query, float64 [P].

    1 + the number of items that score higher + half the number that score the same. `block` is
    the number of queries scored at a time, lowered where the catalog is large. Raises
    ContractError for rows outside the catalog and for a positive that is its own query,
    TrainingError for scores that are not finite.
    """
    return rank_queries(scorer, query_row, positive_row, num_items, block).ranks


def rank_queries(
    scorer: Scorer, query_row: Rows, positive_row: Rows, num_items: int, block: int
) -> Ranking:
    """As `rank_pairs`, with the ten best items of each distinct query."""
    _check_pairs(query_row, positive_row, num_items)
    order = np.argsort(query_row, kind="stable")
    queries, starts = np.unique(query_row[order], return_index=True)
    bounds = np.append(starts, len(order))
    ranks = np.empty(len(order), dtype=np.float64)
    rank = scorer.rank if isinstance(scorer, RanksItself) else _dense(scorer, num_items, block)
    ranks[order], top = rank(queries, bounds, positive_row[order], TOP)
    return Ranking(ranks, queries, top)


def _dense(scorer: Scorer, num_items: int, block: int) -> Rank:
    """Rank by blocks of scores, [B, N] at a time."""

    def rank(
        query_rows: Rows, bounds: npt.NDArray[np.int64], positives: Rows, top: int
    ) -> tuple[npt.NDArray[np.float64], Rows]:
        ranks = np.empty(len(positives), dtype=np.float64)
        best = np.empty((len(query_rows), min(top, num_items - 1)), dtype=np.int32)
        for first, last in _blocks(len(query_rows), num_items, block):
            rows, pairs = query_rows[first:last], slice(bounds[first], bounds[last])
            scores = _checked_scores(scorer, rows, num_items)
            of_query = np.repeat(np.arange(last - first), np.diff(bounds[first : last + 1]))
            ranks[pairs] = _count_ranks(scores, rows, of_query, positives[pairs])
            best[first:last] = _best_items(scores, rows, best.shape[1])
        return ranks, best

    return rank


def _blocks(num_queries: int, num_items: int, block: int) -> Iterator[tuple[int, int]]:
    step = max(1, min(block, _MAX_SCORES // num_items))
    for first in range(0, num_queries, step):
        yield first, min(first + step, num_queries)


def _check_pairs(query_row: Rows, positive_row: Rows, num_items: int) -> None:
    for name, rows in (("query_row", query_row), ("positive_row", positive_row)):
        if len(rows) and (rows.min() < 0 or rows.max() >= num_items):
            raise ContractError(
                f"{name}: expected rows of a catalog of {num_items} items (got {rows.min()} to "
                f"{rows.max()}); the pairs and the catalog come from different data"
            )
    own = int((query_row == positive_row).sum())
    if own:
        raise ContractError(
            f"positive_row: an item is not ranked for itself ({own} pairs have their own query as "
            f"positive); leave repeats of one item out of the pairs"
        )


def _checked_scores(scorer: Scorer, rows: Rows, num_items: int) -> Scores:
    scores = scorer.score(rows)
    if scores.shape != (len(rows), num_items):
        raise TrainingError(
            f"{scorer.name}: expected scores of shape {(len(rows), num_items)}, one a query and "
            f"item (got {scores.shape})"
        )
    finite = np.isfinite(scores)
    if not finite.all():
        query, item = np.argwhere(~finite)[0]
        raise TrainingError(
            f"{scorer.name}: expected finite scores (got {scores[query, item]} for query row "
            f"{rows[query]} and item row {item}); a rank from them would mean nothing, so look at "
            f"the embeddings and at the loss of the training"
        )
    return scores


@numba.njit(parallel=True, cache=True)
def _count_ranks(scores: Any, query_rows: Any, of_query: Any, positives: Any) -> Any:
    ranks = np.empty(len(positives), dtype=np.float64)
    for pair in numba.prange(len(positives)):
        row = scores[of_query[pair]]
        target = row[positives[pair]]
        own = row[query_rows[of_query[pair]]]
        above = 0
        equal = 0
        for item in range(len(row)):
            above += row[item] > target
            equal += row[item] == target
        above -= own > target
        equal -= 1 + (own == target)  # the positive itself, and the query where it ties
        ranks[pair] = 1.0 + above + 0.5 * equal
    return ranks


@numba.njit(parallel=True, cache=True)
def _best_items(scores: Any, query_rows: Any, size: Any) -> Any:
    best = np.empty((len(scores), size), dtype=np.int32)
    for query in numba.prange(len(scores)):
        row = scores[query]
        held = 0
        for item in range(len(row)):
            if item == query_rows[query]:
                continue
            if held == size and row[item] <= row[best[query, size - 1]]:
                continue
            # Insertion from the back: equal scores stay in the order of their rows.
            place = held if held < size else size - 1
            while place > 0 and row[best[query, place - 1]] < row[item]:
                best[query, place] = best[query, place - 1]
                place -= 1
            best[query, place] = item
            held = min(held + 1, size)
    return best
