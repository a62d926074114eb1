"""DGL's PinSAGESampler on a graph kept in a folder. Runs where DGL is.

python benchmarks/_walks_dgl.py FOLDER

Answers `table THREADS WALKS T ITEMS` with seconds by the clock and of CPU time, and `peak`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dgl  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import torch
from _walks_problem import LENGTH, RESTART, serve_lines, timed

_SEEDS = 4096  # a call: DGL's threads share them, and its intermediate arrays stay small


def main() -> None:
    """Serve."""
    folder = Path(sys.argv[1])
    indptr, context = (np.load(folder / f"item_{name}.npy") for name in ("indptr", "indices"))
    item = torch.from_numpy(np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr)))
    sizes = {
        "item": len(indptr) - 1,
        "context": len(np.load(folder / "context_indptr.npy", mmap_mode="r")) - 1,
    }
    edges = {
        ("item", "in", "context"): (item, torch.from_numpy(context)),
        ("context", "has", "item"): (torch.from_numpy(context), item),
    }
    graph = dgl.heterograph(edges, num_nodes_dict=sizes).formats("csr")
    graph.create_formats_()

    def table(threads: int, walks: int, size: int, items: int) -> tuple[float, float]:
        torch.set_num_threads(threads)
        dgl.utils.set_num_threads(threads)
        sampler = dgl.sampling.PinSAGESampler(
            graph, "item", "context", LENGTH, RESTART, walks, size
        )
        rows = torch.arange(items, dtype=torch.int32).split(_SEEDS)
        return timed(lambda: [sampler(seeds) for seeds in rows])

    serve_lines({"table": table})


if __name__ == "__main__":
    main()
