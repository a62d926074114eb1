"""A table of neighbours by this machine's threads, and by a Ray cluster on the same machine.

    python benchmarks/ray_walks.py [--graph small|10m] [--rounds N]

Both do what the stage does, disk included, and take turns; the table has the medians. Ray's time
has the start and the end of a cluster in it, which are given by themselves as well. Memory is the
most that all processes together have at once, what they share counted once (PSS).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from _graphs import power_law_graph
from _timing import print_table

from pinsage.cluster import connected
from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.stage import walked_table
from pinsage.store import Workspace

_SHAPES = {"small": (100_000, 20_000, 1_000_000), "10m": (1_000_000, 200_000, 10_000_000)}
_LOOK = 0.2  # seconds between two looks at the memory


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", choices=_SHAPES, default="small")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        power_law_graph(*_SHAPES[chosen.graph], seed=7).save(folder)
        _rounds(chosen.graph, BipartiteGraph.open(folder), folder, chosen.rounds)


def _rounds(name: str, graph: BipartiteGraph, folder: Path, rounds: int) -> None:
    sides = {
        "this machine": NeighbourhoodConfig(),
        "Ray": NeighbourhoodConfig(engine="ray"),
        "Ray's start and end": None,
    }
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side, settings in sides.items():
            with _watched() as seen, tempfile.TemporaryDirectory(dir=folder) as scratch:
                if settings is None:
                    with connected():
                        pass
                else:
                    work = Workspace(Path(scratch), Path(scratch), "", {}, {})
                    walked_table(graph, settings, 7, work, None)
            if number:  # the first round compiles, and brings the graph into memory
                found[side].append((seen[0], seen[1]))
    rows = [(side, *map(statistics.median, zip(*of, strict=True))) for side, of in found.items()]
    title = f"Neighbours, {name}: {graph.num_edges:,} edges, {os.cpu_count()} cores"
    print_table(title, ("", "seconds", "peak MiB"), rows)


@contextmanager
def _watched() -> Iterator[list[float]]:
    """Seconds that the block took, and the most MiB that this and its processes had."""
    seen, ends, started = [0.0, 0.0], threading.Event(), time.perf_counter()

    def look() -> None:
        while not ends.wait(_LOOK):
            seen[1] = max(seen[1], _memory(os.getpid()) / 1024)

    watcher = threading.Thread(target=look)
    watcher.start()
    yield seen
    seen[0] = time.perf_counter() - started
    ends.set()
    watcher.join()


def _memory(pid: int) -> int:
    """KiB of a process and those below it."""
    total = 0
    with suppress(OSError):  # it may end while it is looked at
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(map(_memory, map(int, (task / "children").read_text().split())))
    return total


if __name__ == "__main__":
    main()
