"""Our neighbourhoods, and random access as such, on a graph kept in a folder.

python benchmarks/_walks_ours.py FOLDER

Answers `table THREADS WALKS T ITEMS` with seconds by the clock and of CPU time, `chase IN_FLIGHT
MIB` with CPU seconds a load, and `peak`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
from _walks_problem import LENGTH, RESTART, serve_lines, timed

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.intrinsics import prefetch
from pinsage.graph.neighbourhoods import neighbourhoods_of

_LOADS = 20_000_000


def main() -> None:
    """Serve."""
    graph = BipartiteGraph.open(Path(sys.argv[1]))
    cycles: dict[int, Any] = {}

    def table(threads: int, walks: int, size: int, items: int) -> tuple[float, float]:
        settings = NeighbourhoodConfig(walks=walks, size=size, length=LENGTH, restart=RESTART)
        rows = np.arange(items, dtype=np.int32)
        numba.set_num_threads(threads)
        return timed(lambda: neighbourhoods_of(rows, graph, settings, seed=7))

    def chase(in_flight: int, mib: int) -> float:
        if mib not in cycles:
            cycles[mib] = _cycle(mib)
        places = np.arange(in_flight).astype(np.uint64)
        return timed(lambda: _chase(cycles[mib], places, _LOADS // in_flight))[1] / _LOADS

    serve_lines({"table": table, "chase": chase})


def _cycle(mib: int) -> Any:
    """One cycle through all places of an array, in random order."""
    order = np.random.Generator(np.random.Philox(1)).permutation(mib * 2**20 // 4)
    following = np.empty(len(order), dtype=np.uint32)
    following[order] = np.roll(order, -1)
    return following


@numba.njit
def _chase(following: Any, places: Any, steps: Any) -> None:
    for _ in range(steps):
        for i in range(len(places)):
            places[i] = following[places[i]]
            prefetch(following, places[i])


if __name__ == "__main__":
    main()
