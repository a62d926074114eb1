"""One training problem for our step and its peers, kept as arrays in a folder.

Needs NumPy only where it is opened, so that a peer's environment can do that as well.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Size:
    """Sizes of the problem: N items, P pairs a step, M negatives, T neighbours, widths."""

    items: int
    pairs: int = 2_048
    negatives: int = 500
    neighbours: int = 50
    features: int = 128
    channels: int = 32
    hidden: int = 256
    output: int = 256
    walks: int = 200
    steps: int = 64


ARRAYS = (
    "item_row",
    "context_row",
    "neighbors",
    "weights",
    "vectors",
    "degree",
    "query",
    "positive",
)


def write_problem(size: Size, folder: Path, seed: int = 7) -> None:
    """A power-law graph with its neighbourhoods, random features, and pairs out of its tables."""
    from _graphs import power_law_graph

    from pinsage.config import NeighbourhoodConfig
    from pinsage.graph.neighbourhoods import build_neighbourhoods

    graph = power_law_graph(size.items, size.items // 5, 10 * size.items, seed)
    walks = NeighbourhoodConfig(walks=size.walks, length=3, size=size.neighbours)
    table = build_neighbourhoods(graph, walks, seed)
    rng = np.random.Generator(np.random.Philox(seed))
    context_row = np.repeat(
        np.arange(graph.num_contexts, dtype=np.int32), np.diff(graph.context_indptr)
    )
    chosen = rng.choice(np.flatnonzero(table.neighbors[:, 0] >= 0), size.pairs * size.steps)
    arrays = {
        "item_row": graph.context_indices,
        "context_row": context_row,
        "neighbors": table.neighbors,
        "weights": table.weights,
        "vectors": rng.standard_normal((size.items, size.features), dtype=np.float32),
        "degree": graph.item_degree,
        "query": chosen.astype(np.int32),
        "positive": table.neighbors[chosen, 0],
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    (folder / "size.json").write_text(json.dumps(asdict(size)))


def open_problem(folder: Path) -> tuple[Size, dict[str, Any]]:
    """The sizes, and the arrays by name."""
    size = Size(**json.loads((folder / "size.json").read_text()))
    return size, {name: np.load(folder / f"{name}.npy") for name in ARRAYS}


class Clock:
    """CPU seconds by part: each `lap` ends the part that began at the last one.

    Not wall time: the machine is shared, and the processes have a thread each.
    """

    def __init__(self) -> None:
        self.parts: dict[str, float] = {}
        self._last = time.process_time()

    def lap(self, part: str) -> None:
        """End a part."""
        now = time.process_time()
        self.parts[part] = self.parts.get(part, 0.0) + now - self._last
        self._last = now


def serve(answers: dict[str, Callable[[], Any]]) -> None:
    """Answer each line of standard input by a line of JSON, until it ends."""
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


def peak_mib() -> float:
    """Most memory that this process has had at once."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
