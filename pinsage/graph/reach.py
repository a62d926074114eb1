"""Which items' neighbourhoods may differ between two nights' graphs: by breadth-first search.

A walk is a function of its draws, which depend on the seed and on row numbers alone, and of the
rows that it reads: the item's, a context's, the next item's, and so on. Hop h reads an item's row
and a context's, 2h and 2h + 1 edges from the start, h < L.

Reach is looked for in the OLD graph alone, and that suffices. Follow one walk in both graphs at
once. As long as every row read so far is the same in both, both are at the same row; if it is
unchanged too, the same draw leads both the same way, along an edge of the old graph. So the first
changed row that either reads, they read at the same moment, at the end of a path of the old graph.
Where no path of at most 2L - 2 edges from an item ends in a changed item row, and none of at most
2L - 1 in a changed context row, no walk ever reads one: both visit the same items in the same
order, and the table's rows are equal to the bit, ties and early stops included.

Rows are compared by number, never by id. So renumbered rows are changed rows: it costs walks, and
is right. An item whose number is new has no row to keep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.graph.bipartite import BipartiteGraph, Indices, Indptr

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reach:
    """What a change of the graph can reach.

    Attributes:
        items: bool [N] of the new graph, True where an item has to be walked again
        num_changed_items: rows of the old graph that the new one has not, or has otherwise
        num_changed_contexts: the same of contexts
    """

    items: Mask
    num_changed_items: int
    num_changed_contexts: int

    @classmethod
    def between(cls, old: BipartiteGraph, new: BipartiteGraph, length: int) -> Reach:
        """Compare two graphs; `length` is the most hops of a walk. Reads every edge of both."""
        items, contexts = changed_rows(old, new)
        reached = _reached(old, items, contexts, length)
        kept = min(old.num_items, new.num_items)
        again = np.ones(new.num_items, dtype=np.bool_)
        again[:kept] = reached[:kept]
        return cls(again, int(items.sum()), int(contexts.sum()))


def changed_rows(old: BipartiteGraph, new: BipartiteGraph) -> tuple[Mask, Mask]:
    """Rows of the old graph that the new one has not, or has otherwise: bool [N] and bool [C]."""
    return (
        _changed(
            _rows(old.item_indptr, old.item_indices, old.item_thresholds),
            _rows(new.item_indptr, new.item_indices, new.item_thresholds),
        ),
        _changed(
            _rows(old.context_indptr, old.context_indices, old.context_thresholds),
            _rows(new.context_indptr, new.context_indices, new.context_thresholds),
        ),
    )


@dataclass(frozen=True)
class _Rows:
    indptr: Indptr
    columns: tuple[npt.NDArray[np.int32 | np.uint32], ...]


def _rows(indptr: Indptr, indices: Indices, thresholds: npt.NDArray[np.uint32] | None) -> _Rows:
    return _Rows(indptr, (indices,) if thresholds is None else (indices, thresholds))


def _changed(old: _Rows, new: _Rows) -> Mask:
    """Bool by row of the old graph: it is gone, or has other edges or weights."""
    changed = np.zeros(len(old.indptr) - 1, dtype=np.bool_)
    if len(old.columns) != len(new.columns):  # all edges alike on one night, weighted on the other
        changed[:] = True
        return changed
    for before, after in zip(old.columns, new.columns, strict=True):
        _mark_changed(old.indptr, before, new.indptr, after, changed)
    return changed


@numba.njit(parallel=True, cache=True)
def _mark_changed(
    old_indptr: Any, old_values: Any, new_indptr: Any, new_values: Any, changed: Any
) -> None:
    for row in numba.prange(len(changed)):
        if row >= len(new_indptr) - 1:
            changed[row] = True
            continue
        first, shift = old_indptr[row], new_indptr[row] - old_indptr[row]
        if old_indptr[row + 1] + shift != new_indptr[row + 1]:
            changed[row] = True
            continue
        for edge in range(first, old_indptr[row + 1]):
            if old_values[edge] != new_values[edge + shift]:
                changed[row] = True
                break


def _reached(graph: BipartiteGraph, items: Mask, contexts: Mask, length: int) -> Mask:
    """Items from which a walk may read a changed row, bool [N]."""
    # The last hop reads a context's row; L - 1 whole hops come before it.
    reached, near = items.copy(), contexts.copy()
    _spread(graph.context_indptr, graph.context_indices, np.flatnonzero(near), reached)
    frontier = np.flatnonzero(reached)
    for _ in range(length - 1):
        fresh = _spread(graph.item_indptr, graph.item_indices, frontier, near)
        frontier = _spread(graph.context_indptr, graph.context_indices, fresh, reached)
        if not len(frontier):
            break
    return reached


def _spread(indptr: Indptr, indices: Indices, rows: npt.NDArray[np.int64], seen: Mask) -> Any:
    """Mark what the rows lead to; returns what was not marked before, int64."""
    fresh = np.empty(len(seen) - int(seen.sum()), dtype=np.int64)
    return fresh[: _mark(indptr, indices, rows, seen, fresh)]


@numba.njit(cache=True)
def _mark(indptr: Any, indices: Any, rows: Any, seen: Any, fresh: Any) -> int:
    found = 0
    for row in rows:
        for edge in range(indptr[row], indptr[row + 1]):
            other = indices[edge]
            if not seen[other]:
                seen[other] = True
                fresh[found] = other
                found += 1
    return found
