"""What else is counted by walks: the visits of every item, and items by their ranks.

Both are read off the rows that `walks.fill_table` ranks, made long enough.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.walkable import walkable
from pinsage.graph.walks import EMPTY, Walks, end_threshold, fill_table

_CELLS = 1 << 22  # of the rankings that are held at a time


def visit_counts(
    graph: BipartiteGraph,
    query_rows: npt.NDArray[np.int32],
    *,
    walks: int,
    length: int,
    restart: float,
    seed: int,
    stop_when_stable: int = 0,
    size: int = 0,
) -> npt.NDArray[np.int32]:
    """Visits of every item by the walks from each query, int32 [B, N]; a query's own are 0.

    `stop_when_stable` and `size` end walks early as they do in `NeighbourhoodConfig`.
    """
    shape = (len(query_rows), min(walks * length, graph.num_items))
    items = np.full(shape, EMPTY, dtype=np.int32)
    visits = np.zeros(shape, dtype=np.float32)
    what = Walks(walks, length, end_threshold(restart), seed, stop_when_stable, size)
    starts = np.ascontiguousarray(query_rows, dtype=np.int32)
    threads = numba.get_num_threads()
    fill_table(starts, what, *walkable(graph), threads, False, items, visits)
    counts = np.zeros((len(query_rows), graph.num_items), dtype=np.int32)
    query, rank = np.nonzero(items != EMPTY)
    counts[query, items[query, rank]] = visits[query, rank]
    return counts


def rank_windows(
    graph: BipartiteGraph,
    left_indptr: npt.NDArray[np.int64],
    left_indices: npt.NDArray[np.int32],
    *,
    walks: int,
    first: int,
    last: int,
    size: int,
    seed: int,
    length: int = 10,
    restart: float = 0.15,
) -> npt.NDArray[np.int32]:
    """A sample of each item's window of ranks by personalised PageRank, int32 [N, size].

    Items are ranked by the visits of `walks` walks with restart (Fogaras et al. 2005 estimate
    PageRank so); of the ranks first to last - 1, from 0, up to `size` are kept at random, in random
    order, -1 where there are fewer. Left out are the item itself and those that the CSR
    `left_indptr` int64 [N + 1], `left_indices` int32, ascending, names for it.
    """
    rows = np.full((graph.num_items, size), EMPTY, dtype=np.int32)
    draws = np.random.Generator(np.random.Philox(seed)).integers(
        0, 1 << 32, rows.shape, dtype=np.uint32
    )
    what = Walks(walks, length, end_threshold(restart), seed)
    edges, threads = walkable(graph), numba.get_num_threads()
    ranks = min(last, walks * length, graph.num_items)
    block = max(1, _CELLS // max(ranks, 1))
    for begin in range(0, graph.num_items, block):
        starts = np.arange(begin, min(begin + block, graph.num_items), dtype=np.int32)
        ranked = np.full((len(starts), ranks), EMPTY, dtype=np.int32)
        visits = np.empty(ranked.shape, dtype=np.float32)
        fill_table(starts, what, *edges, threads, False, ranked, visits)
        part = slice(begin, begin + block)
        _sample(ranked[:, first:], starts, left_indptr, left_indices, draws[part], rows[part])
    return rows


@numba.njit(parallel=True, cache=True)
def _sample(
    windows: Any, starts: Any, left_indptr: Any, left_indices: Any, draws: Any, rows: Any
) -> None:
    """Up to `rows.shape[1]` of each window, in random order; the windows are not what they were."""
    for row in numba.prange(len(windows)):
        window, start = windows[row], starts[row]
        left = left_indices[left_indptr[start] : left_indptr[start + 1]]
        kept = np.int64(0)
        for item in window:
            if item == EMPTY:
                break
            at = np.searchsorted(left, item)
            if at < len(left) and left[at] == item:
                continue
            window[kept] = item
            kept += 1
        # The beginning of a Fisher-Yates shuffle: the order says nothing of rank.
        for place in range(min(kept, rows.shape[1])):
            other = place + (
                (np.uint64(draws[row, place]) * np.uint64(kept - place)) >> np.uint64(32)
            )
            rows[row, place] = window[other]
            window[other] = window[place]
