"""The bipartite graph of items and contexts as two CSRs (PinSage §3.1).

Rows of each CSR are sorted and free of repeats; the two hold the same edges. On disk they are
plain `.npy` files, opened memory-mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pinsage.errors import GraphError
from pinsage.store import Facts

Indptr = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Thresholds = npt.NDArray[np.uint32]

_ARRAYS = ("item_indptr", "item_indices", "context_indptr", "context_indices")


@dataclass(frozen=True)
class BipartiteGraph:
    """Item → contexts and context → items.

    Attributes:
        item_indptr: int64 [N + 1]
        item_indices: int32 [E], context rows
        context_indptr: int64 [C + 1]
        context_indices: int32 [E], item rows
        item_thresholds: uint32 [E] beside `item_indices`, or None where edges weigh the same:
            rising within a row to 2^32 - 1; 32 random bits choose the first edge not below them
        context_thresholds: uint32 [E], the same beside `context_indices`
    """

    item_indptr: Indptr
    item_indices: Indices
    context_indptr: Indptr
    context_indices: Indices
    item_thresholds: Thresholds | None = None
    context_thresholds: Thresholds | None = None

    def __post_init__(self) -> None:
        for name in ("item", "context"):
            indptr, indices = getattr(self, f"{name}_indptr"), getattr(self, f"{name}_indices")
            if len(indptr) == 0 or indptr[0] != 0 or indptr[-1] != len(indices):
                raise GraphError(
                    f"{name}_indptr must run from 0 to {len(indices)}, the number of "
                    f"{name}_indices; rebuild the graph"
                )

    @property
    def num_items(self) -> int:
        """N, the number of items, isolated ones included."""
        return len(self.item_indptr) - 1

    @property
    def num_contexts(self) -> int:
        """C, the number of contexts."""
        return len(self.context_indptr) - 1

    @property
    def num_edges(self) -> int:
        """E, the number of distinct (item, context) pairs."""
        return len(self.item_indices)

    @property
    def item_degree(self) -> npt.NDArray[np.int64]:
        """Number of contexts of each item, int64 [N]."""
        return np.diff(self.item_indptr)

    @classmethod
    def from_edges(
        cls, item_row: Indices, context_row: Indices, *, num_items: int, num_contexts: int
    ) -> BipartiteGraph:
        """Build both directions from parallel arrays of edges; repeats are removed.

        Raises GraphError where a row lies outside its range.
        """
        _check_range("item", item_row, num_items)
        _check_range("context", context_row, num_contexts)
        # One sort of packed pairs orders, groups and exposes repeats at once.
        packed = np.unique(item_row.astype(np.int64) * max(num_contexts, 1) + context_row)
        items, contexts = np.divmod(packed, max(num_contexts, 1))
        by_context = np.argsort(contexts, kind="stable")
        return cls(
            item_indptr=_indptr(items, num_items),
            item_indices=contexts.astype(np.int32),
            context_indptr=_indptr(contexts, num_contexts),
            context_indices=items[by_context].astype(np.int32),
        )

    @classmethod
    def open(cls, folder: Path) -> BipartiteGraph:
        """Open a graph artifact, memory-mapped."""
        return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS})

    def save(self, folder: Path) -> None:
        """Write the four arrays as `.npy` files."""
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))


def write_graph(edges: Path, num_items: int, out: Path) -> Facts:
    """Build the graph over a Parquet file with `item_row` and `user_row`; a user is a context."""
    table = pq.read_table(edges, columns=["item_row", "user_row"])
    item_row = table.column("item_row").to_numpy()
    context_row = table.column("user_row").to_numpy()
    # Contexts are numbered by first appearance in time, so a period's are the first ones.
    num_contexts = int(context_row.max()) + 1 if len(context_row) else 0
    graph = BipartiteGraph.from_edges(
        item_row, context_row, num_items=num_items, num_contexts=num_contexts
    )
    graph.save(out)
    return {
        "num_items": graph.num_items,
        "num_contexts": graph.num_contexts,
        "num_edges": graph.num_edges,
        "num_isolated_items": int((graph.item_degree == 0).sum()),
        "max_item_degree": int(graph.item_degree.max(initial=0)),
    }


def _check_range(kind: str, rows: Indices, bound: int) -> None:
    if len(rows) and (rows.min() < 0 or rows.max() >= bound):
        raise GraphError(
            f"{kind} rows must lie in [0, {bound}) (got {rows.min()} to {rows.max()}); "
            f"ingest and graph come from different data"
        )


def _indptr(rows: npt.NDArray[np.int64], count: int) -> Indptr:
    indptr = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=indptr[1:])
    return indptr
