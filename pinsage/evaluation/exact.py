"""Exact ranks by inner product without a dense matrix: a GEMM sorts out all but a hair's breadth.

Scores are float64 inner products of float32 vectors, summed in the order of the dimensions, so a
rank does not depend on tiles, threads or the BLAS at hand, and equal vectors tie exactly. Computing
all of them so would be slow. A float32 product is off by at most γ‖q‖‖v‖, γ = du/(1 − du), u = 2⁻²⁴
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1): only scores that close to the
positive's are computed again, about one in ten thousand.

Threads take whole blocks of queries, each with products and counts of its own: on a shared machine
that is three times as fast as threads that wait for each other at every tile, and a tile is read
while it is in the cache. Q queries, P pairs, N items, d dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

SPARE = 22  # candidates held beyond the top, so that rounding at its edge can be settled
TILE_QUERIES = 512
_TILE_ITEMS = 4096
_CHUNK = 256  # scores compared without a branch


@dataclass(frozen=True)
class Block:
    """Some queries with their pairs.

    Attributes:
        vectors: float32 [B, d], of the queries
        rows: int32 [B], of the queries in the catalog
        bounds: int64 [B + 1]; pairs bounds[b] to bounds[b + 1] belong to query b
        positives: int32 [P], item rows
        errors: float64 [B], how far a float32 product of a query with an item may be off
    """

    vectors: Vectors
    rows: Rows
    bounds: Int64
    positives: Rows
    errors: Float64

    @property
    def of_query(self) -> Int64:
        """Which query of the block each pair belongs to, int64 [P]."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.bounds))


RankBlock = Callable[[Block, Vectors, int], tuple[Float64, Rows]]


def rank_by_vectors(
    queries: Vectors,
    items: Vectors,
    rows: Rows,
    bounds: Int64,
    positives: Rows,
    *,
    top: int,
    rank_block: RankBlock,
    threads: int = 1,
    size: int = TILE_QUERIES,
) -> tuple[Float64, Rows]:
    """Ranks of the positives, float64 [P], and each query's best items, int32 [Q, top].

    `queries` and `items` are finite float32 [N, d], one row an item of the catalog, `rows` int32
    [Q] the distinct queries; the pairs bounds[q] to bounds[q + 1] belong to query q. Ties stand in
    the middle; among the best the smaller row comes first. A query is no item of its own.
    """
    ranks = np.empty(len(positives), dtype=np.float64)
    best = np.empty((len(rows), min(top, len(items) - 1)), dtype=np.int32)
    longest = float(lengths(items).max(initial=0.0))

    def rank(first: int) -> None:
        some = slice(first, first + size)
        edges = bounds[first : first + size + 1]
        pairs = slice(edges[0], edges[-1])
        vectors = queries[rows[some]]
        block = Block(
            vectors, rows[some], edges - edges[0], positives[pairs],
            errors=error_bound(vectors, longest),
        )  # fmt: skip
        ranks[pairs], best[some] = rank_block(block, items, top)

    # Each thread computes products of its own, so the BLAS must not start others.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(rank, range(0, len(rows), size)):
            pass  # raises what a thread raised
    return ranks, best


def error_bound(queries: Vectors, longest: float) -> Float64:
    """Largest error of a float32 product with a vector up to `longest`, float64 [B]."""
    steps = queries.shape[1] * 2.0**-24
    bound: Float64 = (
        1.01 * steps / (1 - steps) * lengths(queries) * longest + np.finfo(np.float32).tiny
    )
    return bound


def lengths(vectors: Vectors) -> Float64:
    """Euclidean lengths, float64 [N], without a float64 copy of the matrix."""
    squares: Float64 = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)


def margins(targets: Float64, block: Block) -> tuple[Vectors, Vectors]:
    """Below the first a float32 product is surely lower than a target, above the second higher."""
    margin = block.errors[block.of_query]
    low = np.nextafter((targets - margin).astype(np.float32), np.float32(-np.inf))
    high = np.nextafter((targets + margin).astype(np.float32), np.float32(np.inf))
    return low, high


def rank_on_cpu(block: Block, items: Vectors, top: int) -> tuple[Float64, Rows]:
    """`RankBlock` by a GEMM over tiles that fit the cache, each read once."""
    targets = dots(block.vectors, items, block.of_query, block.positives)
    low, high = margins(targets, block)
    above, level = np.zeros((2, len(targets)), dtype=np.int64)
    held = min(top + SPARE, len(items) - 1)
    best_rows = np.full((len(block.rows), held), -1, dtype=np.int32)
    best_scores = np.full((len(block.rows), held), -np.inf, dtype=np.float32)
    space = np.empty(len(block.rows) * min(_TILE_ITEMS, len(items)), dtype=np.float32)
    for first in range(0, len(items), _TILE_ITEMS):
        tile = items[first : first + _TILE_ITEMS]
        scores = space[: len(block.rows) * len(tile)].reshape(len(block.rows), len(tile))
        np.matmul(block.vectors, tile.T, out=scores)
        _read_tile(
            scores, first, block.vectors, tile, block.rows, block.bounds, targets,
            low, high, above, level, best_rows, best_scores,
        )  # fmt: skip
    own = dots(block.vectors, items, block.of_query, block.rows[block.of_query])
    above -= own > targets
    level -= 1 + (own == targets)  # the positive itself, and the query where it ties
    best = settle(block.vectors, items, block.rows, best_rows, best_scores, block.errors, top)
    return 1.0 + above + 0.5 * level, best


@numba.njit(nogil=True, cache=True)
def _dot(a: Any, b: Any) -> Any:
    total = 0.0
    for place in range(len(a)):
        total += np.float64(a[place]) * np.float64(b[place])
    return total


@numba.njit(nogil=True, cache=True)
def dots(vectors: Any, items: Any, of_vector: Any, item_rows: Any) -> Any:
    """Scores of chosen combinations, float64 [P]: vectors[of_vector] with items[item_rows]."""
    scores = np.empty(len(item_rows), dtype=np.float64)
    for pair in range(len(item_rows)):
        scores[pair] = _dot(vectors[of_vector[pair]], items[item_rows[pair]])
    return scores


@numba.njit(nogil=True, cache=True)
def _read_tile(
    scores: Any,
    first: Any,
    vectors: Any,
    tile: Any,
    rows: Any,
    bounds: Any,
    targets: Any,
    low: Any,
    high: Any,
    above: Any,
    level: Any,
    best_rows: Any,
    best_scores: Any,
) -> None:
    """Count a tile's items above and level with each positive, and keep the best of each query."""
    for query in range(len(rows)):
        row = scores[query]
        for start in range(0, len(row), _CHUNK):
            stop = min(start + _CHUNK, len(row))
            least = best_scores[query, -1]
            promising = False  # only what is above some positive can be above all that is held
            for pair in range(bounds[query], bounds[query + 1]):
                over, reach = _count(row, start, stop, high[pair], low[pair])
                promising |= over > 0 or high[pair] > least
                above[pair] += over
                if reach > over:
                    for place in range(start, stop):
                        if low[pair] <= row[place] <= high[pair]:
                            exact = _dot(vectors[query], tile[place])
                            above[pair] += exact > targets[pair]
                            level[pair] += exact == targets[pair]
            if promising and _count(row, start, stop, least, least)[0] > 0:
                _keep_best(
                    row[start:stop], first + start, rows[query], best_rows[query],
                    best_scores[query],
                )  # fmt: skip


# The scores are finite, and the sums are of ones: in any order they are exact, so that lanes of
# float32 may be added up apart, three times as fast as counting in int64.
@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "nnan", "nsz"})
def _count(row: Any, start: Any, stop: Any, high: Any, low: Any) -> Any:
    """How many scores lie above `high`, and how many not below `low`."""
    one, zero = np.float32(1), np.float32(0)
    over, reach = zero, zero
    for place in range(start, stop):
        over += one if row[place] > high else zero
        reach += one if row[place] >= low else zero
    return np.int64(over), np.int64(reach)


@numba.njit(nogil=True, cache=True)
def _keep_best(chunk: Any, first: Any, own: Any, best_rows: Any, best_scores: Any) -> None:
    for place in range(len(chunk)):
        score = chunk[place]
        if score <= best_scores[-1] or first + place == own:
            continue
        # Insertion from the back: equal scores stay in the order of their rows.
        slot = len(best_scores) - 1
        while slot > 0 and best_scores[slot - 1] < score:
            best_scores[slot] = best_scores[slot - 1]
            best_rows[slot] = best_rows[slot - 1]
            slot -= 1
        best_scores[slot] = score
        best_rows[slot] = first + place


@numba.njit(nogil=True, cache=True)
def settle(
    vectors: Any,
    items: Any,
    rows: Any,
    best_rows: Any,
    best_scores: Any,
    errors: Any,
    top: Any,
) -> Any:
    """The best `top` by exact score, out of more candidates by rounded score."""
    size = min(top, len(items) - 1)
    settled = np.empty((len(rows), size), dtype=np.int32)
    for query in range(len(rows)):
        candidates = best_rows[query].astype(np.int64)
        exact = np.empty(len(candidates), dtype=np.float64)
        for place in range(len(candidates)):
            exact[place] = _dot(vectors[query], items[candidates[place]])
        edge = np.sort(exact)[::-1][size - 1]
        complete = len(candidates) == len(items) - 1
        if not complete and best_scores[query, -1] >= edge - errors[query]:
            # More items than were held may belong to the top: all are scored.
            candidates = np.arange(len(items))
            exact = np.empty(len(items), dtype=np.float64)
            for item in range(len(items)):
                exact[item] = _dot(vectors[query], items[item])
            exact[rows[query]] = -np.inf
        _take_best(candidates, exact, settled[query])
    return settled


@numba.njit(nogil=True, cache=True)
def _take_best(candidates: Any, exact: Any, best: Any) -> None:
    """The candidates with the highest scores, the smaller row first among equals."""
    held = 0
    kept = np.empty(len(best), dtype=np.float64)
    for place in range(len(candidates)):
        score, row = exact[place], candidates[place]
        if held == len(best) and (
            score < kept[held - 1] or (score == kept[held - 1] and row > best[held - 1])
        ):
            continue
        slot = held if held < len(best) else held - 1
        while slot > 0 and (
            kept[slot - 1] < score or (kept[slot - 1] == score and best[slot - 1] > row)
        ):
            kept[slot] = kept[slot - 1]
            best[slot] = best[slot - 1]
            slot -= 1
        kept[slot] = score
        best[slot] = row
        held = min(held + 1, len(best))
