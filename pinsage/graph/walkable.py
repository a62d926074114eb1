"""The graph as the kernels of `walks.py` read it."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.walks import LAST_START, START_BITS, Edges


def walkable(graph: BipartiteGraph) -> tuple[Edges, Edges]:
    """Item → context and context → item. Raises GraphError above 2**33 edges."""
    if graph.num_edges > int(LAST_START):
        raise GraphError(
            f"walks address at most {int(LAST_START):,} edges (got {graph.num_edges:,}); cap the "
            f"contexts' degrees, or take a shorter period"
        )
    return (
        _edges(graph.item_indptr, graph.item_indices, graph.item_thresholds),
        _edges(graph.context_indptr, graph.context_indices, graph.context_thresholds),
    )


def _edges(indptr: Any, indices: Any, thresholds: Any) -> Edges:
    slots = np.empty(len(indptr) - 1, dtype=np.uint64)
    _pack(np.asarray(indptr), START_BITS, slots)
    return Edges(*map(_read_only, (slots, indices.view(np.uint32), thresholds)))


def _read_only(array: Any) -> Any:
    # Mapped files and a cluster's shared arrays can only be read: one compiled kernel for all.
    if array is not None:
        array = np.asarray(array).view()
        array.flags.writeable = False
    return array


@numba.njit(parallel=True, cache=True)
def _pack(indptr: Any, start_bits: Any, slots: Any) -> None:
    # An empty row at the end starts at the last edge, not behind it, so that no read is outside.
    last = max(indptr[-1] - 1, 0)
    for row in numba.prange(len(slots)):
        degree = np.uint64(indptr[row + 1] - indptr[row])
        slots[row] = np.uint64(min(indptr[row], last)) | (degree << start_bits)
