"""The bipartite graph of items and contexts as two CSRs (PinSage §3.1).

Rows of each CSR are sorted and free of repeats; the two hold the same edges. On disk they are
plain `.npy` files, opened memory-mapped.

Edges may have weights, which are kept as what a walk needs: of the 2**32 values of a draw, each
edge of a row has as many as it weighs. `item_thresholds` and `context_thresholds` hold the last
value of each edge, rising within a row to 2**32 − 1, so that a draw h chooses the first edge of
the row with h ≤ threshold: integers alone, the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pinsage.errors import GraphError

Indptr = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int32]
Thresholds: TypeAlias = npt.NDArray[np.uint32]

_ARRAYS = ("item_indptr", "item_indices", "context_indptr", "context_indices")
_THRESHOLDS = ("item_thresholds", "context_thresholds")


@dataclass(frozen=True)
class BipartiteGraph:
    """Item → contexts and context → items.

    Attributes:
        item_indptr: int64 [N + 1]
        item_indices: int32 [E], context rows
        context_indptr: int64 [C + 1]
        context_indices: int32 [E], item rows
        item_thresholds: uint32 [E], rising in each row to 2**32 - 1: 32 random bits choose the
            first edge whose threshold is not below them; None where edges weigh the same
        context_thresholds: likewise
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
            self._check_thresholds(name, len(indices))

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

    @property
    def is_weighted(self) -> bool:
        """Whether edges have weights."""
        return self.item_thresholds is not None

    def _check_thresholds(self, name: str, num_edges: int) -> None:
        thresholds: Thresholds | None = getattr(self, f"{name}_thresholds")
        if (thresholds is None) == self.is_weighted:
            raise GraphError(
                "item_thresholds and context_thresholds go together (got one of them); rebuild "
                "the graph"
            )
        if thresholds is not None and (
            thresholds.dtype != np.uint32 or thresholds.shape != (num_edges,)
        ):
            raise GraphError(
                f"{name}_thresholds must be uint32 [{num_edges}], one an edge (got "
                f"{thresholds.dtype} {list(thresholds.shape)}); rebuild the graph"
            )

    @classmethod
    def from_edges(
        cls, item_row: Indices, context_row: Indices, *, num_items: int, num_contexts: int
    ) -> BipartiteGraph:
        """Build both directions from parallel arrays of edges; repeats are removed.

        Raises GraphError where a row lies outside its range.
        """
        check_range("item", item_row, num_items)
        check_range("context", context_row, num_contexts)
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
        weighted = (folder / f"{_THRESHOLDS[0]}.npy").exists()
        names = (*_ARRAYS, *_THRESHOLDS) if weighted else _ARRAYS
        return cls(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in names})

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy` files."""
        for name in (*_ARRAYS, *_THRESHOLDS):
            array = getattr(self, name)
            if array is not None:
                np.save(folder / f"{name}.npy", array)


def check_range(kind: str, rows: npt.NDArray[np.integer], bound: int) -> None:
    """Raise GraphError where one of the rows is not in [0, bound)."""
    if len(rows) and (rows.min() < 0 or rows.max() >= bound):
        raise GraphError(
            f"{kind} rows must lie in [0, {bound}) (got {rows.min()} to {rows.max()}); "
            f"ingest and graph come from different data"
        )


def _indptr(rows: npt.NDArray[np.int64], count: int) -> Indptr:
    indptr = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows, minlength=count), out=indptr[1:])
    return indptr
