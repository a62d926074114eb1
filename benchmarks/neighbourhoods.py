"""Neighbourhoods a second, for one and two threads.

    python benchmarks/neighbourhoods.py

The floor: a hop reads two slots of `indptr` and one of `indices`, twice, at random places; what
the machine can do of such dependent reads is measured in the same run by a pointer chase.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from _graphs import power_law_graph
from _timing import median_seconds, print_table

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import build_neighbourhoods

_SHAPES = {
    "MovieLens-100K's shape": (1_682, 943, 100_000),
    "1 M edges": (100_000, 20_000, 1_000_000),
}
_STEPS = 1_000_000
_SETTINGS = (
    NeighbourhoodConfig(walks=200, length=3, size=50),
    NeighbourhoodConfig(walks=10, length=3, size=10),
)


def main() -> None:
    """Build the table of each graph with each setting."""
    rows = []
    for name, (num_items, num_contexts, num_edges) in _SHAPES.items():
        graph = power_law_graph(num_items, num_contexts, num_edges, seed=7)
        for settings in _SETTINGS:
            for threads in (1, 2):
                seconds = _measure(graph, settings, threads)
                rows.append((name, settings.walks, settings.size, threads, seconds,
                             num_items / seconds / 1000))  # fmt: skip
    print_table("Neighbourhoods", ("graph", "walks", "T", "threads", "seconds", "thousand/s"), rows)
    print_table("Pointer chase, one in flight", ("array", "ns a step"), _chases())


def _measure(graph: BipartiteGraph, settings: NeighbourhoodConfig, threads: int) -> float:
    numba.set_num_threads(threads)
    return median_seconds(lambda: build_neighbourhoods(graph, settings, seed=7), repeats=3)


def _chases() -> list[tuple[str, float]]:
    rows = []
    for mib in (1, 64):
        order = np.random.Generator(np.random.Philox(1)).permutation(mib * 2**20 // 4)
        following = np.empty(len(order), dtype=np.int32)
        following[order] = np.roll(order, -1)
        seconds = median_seconds(_chaser(following), repeats=3)
        rows.append((f"{mib} MiB", seconds / _STEPS * 1e9))
    return rows


def _chaser(following: npt.NDArray[np.int32]) -> Callable[[], Any]:
    chase: Any = _chase  # numba's own types know arrays of one length only
    return lambda: chase(following, _STEPS)


@numba.njit
def _chase(following: npt.NDArray[np.int32], steps: int) -> int:
    place = 0
    for _ in range(steps):
        place = following[place]
    return place


if __name__ == "__main__":
    main()
