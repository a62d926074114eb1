"""Importance-based neighbourhoods (PinSage §3.1): the T items most visited by walks from an item.

Rows of `weights` are visit counts divided by their sum: they sum to 1, or to 0 where an item has
no neighbour. Neighbours come in falling order of count; equal counts by first visit, in fewer hops
before in more, then by the smaller number of the walk: which row an item has favours none.
Items that nobody has taken may have stand-ins in their place, those most alike by content
(`pinsage/content/stand_ins.py`); with them the table says what degree features show.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph, Indices
from pinsage.graph.walkable import walkable
from pinsage.graph.walks import (
    EMPTY,
    Edges,
    Walks,
    end_threshold,
    fill_newcomers,
    fill_table,
)
from pinsage.store import Facts

Degree = npt.NDArray[np.int64 | np.float64]
Rows = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""`neighbors` and `weights` of some items."""


@dataclass(frozen=True)
class Neighbourhoods:
    """The fixed table of neighbours.

    Attributes:
        neighbors: int32 [N, T], item rows, -1 where there are fewer than T
        weights: float32 [N, T], importance weights, 0 where `neighbors` is -1
        degree: float64 [N], the degree that features show, where stand-ins lend theirs to items
            without any; None where it is the graph's
    """

    neighbors: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    degree: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.neighbors.shape != self.weights.shape or self.neighbors.ndim != 2:
            raise GraphError(
                f"neighbors and weights must both be [N, T] (got {self.neighbors.shape} and "
                f"{self.weights.shape}); rebuild the neighbourhoods"
            )

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.neighbors)

    @property
    def size(self) -> int:
        """T."""
        return int(self.neighbors.shape[1])

    @classmethod
    def open(cls, folder: Path) -> Neighbourhoods:
        """Open a neighbourhoods artifact, memory-mapped."""
        degree = folder / "degree.npy"
        return cls(
            np.load(folder / "neighbors.npy", mmap_mode="r"),
            np.load(folder / "weights.npy", mmap_mode="r"),
            np.load(degree, mmap_mode="r") if degree.exists() else None,
        )

    def save(self, folder: Path) -> Facts:
        """Write what `open` reads, `degree.npy` where there is one; what is to be said of it."""
        np.save(folder / "neighbors.npy", self.neighbors)
        np.save(folder / "weights.npy", self.weights)
        if self.degree is not None:
            np.save(folder / "degree.npy", self.degree)
        return self.facts()

    def facts(self) -> Facts:
        """What is to be said of the table."""
        filled = (self.neighbors >= 0).sum(axis=1)
        return {
            "num_items": self.num_items,
            "mean_neighbours": float(filled.mean()) if len(filled) else 0.0,
            "num_without_neighbours": int((filled == 0).sum()),
        }

    def shown_degree(self, graph: BipartiteGraph) -> Degree:
        """The degree that features of this table's items show, [N]; `graph` is the table's own."""
        return graph.item_degree if self.degree is None else self.degree


def build_neighbourhoods(
    graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int
) -> Neighbourhoods:
    """Walk from every item and keep its most visited ones."""
    walk = walker(graph, settings, seed)
    return Neighbourhoods(*walk(np.arange(graph.num_items, dtype=np.int32)))


def neighbourhoods_of(
    item_rows: Indices,
    graph: BipartiteGraph,
    settings: NeighbourhoodConfig,
    seed: int,
    threads: int | None = None,
) -> Neighbourhoods:
    """The rows of `build_neighbourhoods` for M items alone, [M, T], walked on the CPU.

    `threads` share the items, numba's number of them unless said; the table does not depend on it.
    Raises GraphError where an item is not in the graph, or the graph is too large to be walked.
    """
    if len(item_rows) and (item_rows.min() < 0 or item_rows.max() >= graph.num_items):
        raise GraphError(
            f"items to walk from must lie in [0, {graph.num_items}) (got {item_rows.min()} to "
            f"{item_rows.max()}); take them from the data that the graph was built of"
        )
    return Neighbourhoods(*walked_rows(walkable(graph), settings, seed, threads, item_rows))


def walked_rows(
    ways: tuple[Edges, Edges],
    settings: NeighbourhoodConfig,
    seed: int,
    threads: int | None,
    item_rows: Indices,
) -> Rows:
    """Rows of some items, on the CPU; `ways` are a graph's as `walkable` gives them."""
    neighbors = np.full((len(item_rows), settings.size), EMPTY, dtype=np.int32)
    weights = np.zeros(neighbors.shape, dtype=np.float32)
    fill_table(
        item_rows, _walks(settings, seed), *ways, threads or numba.get_num_threads(), True,
        neighbors, weights,
    )  # fmt: skip
    return neighbors, weights


def walker(
    graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int
) -> Callable[[Indices], Rows]:
    """What walks from items, given their rows, on the device that the settings name.

    Raises GraphError where that is a GPU that is not there.
    """
    if settings.device != "cpu":
        from pinsage.graph.walks_torch import walks_on_gpu  # seconds, and only a GPU is worth it

        on_gpu = walks_on_gpu(graph, settings, seed)
        if on_gpu is not None:
            return on_gpu
    return partial(walked_rows, walkable(graph), settings, seed, None)


def _walks(settings: NeighbourhoodConfig, seed: int) -> Walks:
    return Walks(
        settings.walks, settings.length, end_threshold(settings.restart), seed,
        settings.stop_when_stable, settings.size,
    )  # fmt: skip


def newcomers_neighbourhoods(
    graph: BipartiteGraph, contexts: Sequence[Indices], settings: NeighbourhoodConfig, seed: int
) -> Neighbourhoods:
    """Neighbourhoods of M items that the graph has not, [M, T], each with its first contexts.

    Each is what `build_neighbourhoods` finds for it in the graph with this item alone added as the
    last row: newcomers do not see each other, so none depends on which others are asked for.
    A hub that was sampled down takes it on top.
    Where edges are weighted, it is taken to weigh in each of its contexts what these weigh on
    average, and its contexts to weigh the same.
    `contexts` holds distinct context rows by item; an item without any has no neighbour.
    Raises GraphError where a row is not in the graph.
    """
    sorted_rows = [np.unique(rows).astype(np.int32) for rows in contexts]
    own = np.concatenate([np.empty(0, dtype=np.int32), *sorted_rows])
    if len(own) and (own.min() < 0 or own.max() >= graph.num_contexts):
        raise GraphError(
            f"contexts of new items must lie in [0, {graph.num_contexts}) (got {own.min()} to "
            f"{own.max()}); take them from the data that the graph was built of"
        )
    own_indptr = np.cumsum([0, *map(len, sorted_rows)], dtype=np.int64)
    neighbors = np.full((len(contexts), settings.size), EMPTY, dtype=np.int32)
    weights = np.zeros(neighbors.shape, dtype=np.float32)
    fill_newcomers(own_indptr, own, _walks(settings, seed), *walkable(graph), neighbors, weights)
    return Neighbourhoods(neighbors, weights)
