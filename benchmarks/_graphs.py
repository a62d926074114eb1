"""Power-law bipartite graphs for the benchmarks."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.graph.bipartite import BipartiteGraph


def power_law_graph(num_items: int, num_contexts: int, num_edges: int, seed: int) -> BipartiteGraph:
    """Edges between items and contexts, both drawn with frequency ∝ 1 / rank^0.7.

    Some are drawn twice and then are one, about 2 %.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    item_row = _draw(rng, num_items, num_edges)
    context_row = _draw(rng, num_contexts, num_edges)
    item_indptr, item_indices = _distinct(*_grouped(item_row, context_row, num_items))
    # Taken in the order of items, so that a context's are sorted as they come.
    items = np.repeat(np.arange(num_items, dtype=np.int32), np.diff(item_indptr))
    context_indptr, context_indices = _grouped(item_indices, items, num_contexts)
    return BipartiteGraph(item_indptr, item_indices, context_indptr, context_indices)


def _draw(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int32]:
    # Inverse transform of the continuous law: u^(1 / 0.3) has density ∝ x^-0.7.
    rank = (rng.random(size) ** (1 / 0.3) * count).astype(np.int32)
    return rng.permutation(count).astype(np.int32)[np.minimum(rank, count - 1)]


@numba.njit
def _grouped(rows: Any, values: Any, num_rows: Any) -> Any:
    """A counting sort of `values` by `rows`: the CSR's two arrays."""
    indptr = np.zeros(num_rows + 1, dtype=np.int64)
    for row in rows:
        indptr[row + 1] += 1
    indptr = np.cumsum(indptr)
    place = indptr[:-1].copy()
    indices = np.empty(len(rows), dtype=np.int32)
    for i in range(len(rows)):
        indices[place[rows[i]]] = values[i]
        place[rows[i]] += 1
    return indptr, indices


@numba.njit
def _distinct(indptr: Any, indices: Any) -> Any:
    """Sort each row and leave its repeats out."""
    kept = 0
    bounds = np.zeros_like(indptr)
    for row in range(len(indptr) - 1):
        last = -1
        for value in np.sort(indices[indptr[row] : indptr[row + 1]]):
            if value != last:
                indices[kept] = value
                kept += 1
            last = value
        bounds[row + 1] = kept
    return bounds, indices[:kept].copy()
