"""The two directions: contexts → items sorted out of the runs, items → contexts by transposing it.

Both go block by block of rows and append to a CSR that survives a kill.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pinsage.graph.construction import kernels
from pinsage.graph.construction.growing import GrowingCsr
from pinsage.graph.construction.runs import Runs, cut_rows
from pinsage.progress import Listener, Pace

_PIECE = 1 << 20  # edges scanned at a time
_SORTED = 1 << 24  # edges sorted at a time at most: larger blocks gain nothing
# Bytes that an edge of a block takes, working space included, without and with weights.
_SORTING = (8, 36)
_TRANSPOSING = (6, 18)


def build_contexts(
    runs: Runs,
    csr: GrowingCsr,
    memory: int,
    seed: int,
    max_degree: int,
    listener: Listener | None,
) -> None:
    """Append the rows of contexts that `csr` lacks: sorted, without repeats, hubs sampled.

    `memory` bounds the bytes of a block, unless a single row takes more.

    Of a context with more than `max_degree` items (0: no bound) those stay whose hash of (seed,
    context, item) is smallest, which is a draw without replacement that depends on nothing else.
    """
    capacity = max(1, min(_SORTED, memory // _SORTING[csr.thresholds is not None]))
    blocks, total = runs.blocks(csr.rows, capacity), runs.num_edges
    done = max(0, total - sum(edges for _, _, edges in blocks))
    pace = Pace(listener, "sorting contexts", "edges", total, done)
    for first, last, edges in blocks:
        counts = runs.count(first, last)
        starts = _indptr(counts)
        items = np.empty(starts[-1], dtype=np.int32)
        weights = np.empty(starts[-1] if csr.thresholds is not None else 0)
        cursor = starts[:-1].copy()
        for keys, key_weights in runs.pieces(first, last):
            kernels.place_keys(keys, key_weights, first, cursor, items, weights)
        lengths = np.empty(last - first, dtype=np.int64)
        kernels.tidy_rows(starts, items, weights, first, seed, max_degree, lengths)
        num_edges = int(kernels.close_gaps(starts, lengths, items, weights))
        _append(csr, lengths, items[:num_edges], weights[:num_edges])
        pace.add(edges)


def build_items(
    contexts: GrowingCsr, csr: GrowingCsr, memory: int, listener: Listener | None
) -> None:
    """Append the rows of items that `csr` lacks: the finished contexts, transposed.

    `memory` bounds the bytes of a block, unless a single row takes more.
    """
    pace = Pace(listener, "transposing to items", "edges", contexts.edges, csr.edges)
    context_indptr = contexts.indptr.read(0, contexts.num_rows + 1)
    degree = np.zeros(csr.num_rows, dtype=np.int64)
    for _, items, _ in _scan(contexts, with_weights=False):
        kernels.count_items(items, degree)
    indptr = _indptr(degree)
    capacity = max(1, memory // _TRANSPOSING[csr.thresholds is not None])
    for first, last in cut_rows(indptr, csr.rows, capacity):
        num_edges = int(indptr[last] - indptr[first])
        found = np.empty(num_edges, dtype=np.int32)
        weights = np.empty(num_edges if csr.thresholds is not None else 0)
        cursor = indptr[first:last] - indptr[first]
        for position, items, edge_weights in _scan(contexts, with_weights=True):
            kernels.place_transposed(
                context_indptr, position, items, edge_weights, first, cursor, found, weights
            )
        _append(csr, degree[first:last], found, weights)
        pace.add(num_edges)


def _scan(
    csr: GrowingCsr, *, with_weights: bool
) -> Iterator[tuple[int, npt.NDArray[np.int32], npt.NDArray[np.float64]]]:
    """All edges in order, a piece at a time: where it begins, its columns, its weights."""
    for start in range(0, csr.edges, _PIECE):
        stop = min(start + _PIECE, csr.edges)
        is_weighted = with_weights and csr.weights is not None
        weights = csr.weights.read(start, stop) if csr.weights and is_weighted else np.empty(0)
        yield start, csr.indices.read(start, stop), weights


def _append(
    csr: GrowingCsr,
    lengths: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    weights: npt.NDArray[np.float64],
) -> None:
    thresholds = np.empty(len(weights), dtype=np.uint32)
    if csr.thresholds is not None:
        kernels.cut_by_weight(_indptr(lengths), weights, thresholds)
    csr.append(lengths, indices, weights, thresholds)


def _indptr(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return indptr
