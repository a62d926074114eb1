"""What embedding all items takes at least: its products, its look-ups and its bytes.

Each part is timed alone, by as many threads as the engine has, by the clock and in CPU time:
products of a tile at full rate; `embedding_bag` over the job's own table and a matrix of the size
of a layer's projections; blocks written to a new file, and read back from the page cache.

Legend: N items, T neighbours, D width, L layers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from _inference_problem import LAYERS, WIDTH, table_of

from pinsage.inference.engine import Job
from pinsage.inference.row_stores import FileRows
from pinsage.inference.workers import cut, each
from pinsage.model.io import load_model

_TILE = 2048
_CPU = torch.device("cpu")


class Cost(NamedTuple):
    """Of a piece of work, in seconds."""

    clock: float
    cpu: float

    def times(self, count: float) -> Cost:
        """Of so many pieces."""
        return Cost(count * self.clock, count * self.cpu)


def floor(job: Job, storage: torch.dtype, threads: int, scratch: Path) -> dict[str, Cost]:
    """What each part costs for all items."""
    table = table_of(job)
    num_items, size = table.neighbors.shape
    number = storage.itemsize
    exact, layered = _operations(job)
    written = num_items * WIDTH * (2 * LAYERS * number + 4)
    read = num_items * (LAYERS * (WIDTH * number + 8 * size) + 4 * WIDTH)
    write_cost, read_cost = _copies(scratch, num_items, storage, threads)
    ends = _products(torch.float32, threads).times(num_items * exact)
    layers = _products(storage, threads).times(num_items * layered)
    return {
        "products": Cost(ends.clock + layers.clock, ends.cpu + layers.cpu),
        "look-ups": _look_ups(job, storage, threads).times(LAYERS * num_items * size),
        "writing": write_cost.times(written),
        "reading": read_cost.times(read),
    }


def _operations(job: Job) -> tuple[float, float]:
    """Of an item: in encoder and head, and in the convolutions."""
    parts = [0, 0]
    for name, weight in load_model(job.model).named_parameters():
        if weight.dim() >= 2:
            parts[name.startswith("convs.")] += 2 * weight.numel()
    return float(parts[0]), float(parts[1])


def timed(work: Callable[[], object]) -> Cost:
    """What a call costs."""
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return Cost(time.perf_counter() - clock, time.process_time() - cpu)


def _cost(work: Callable[[int], None], calls: int, threads: int, rounds: int = 3) -> Cost:
    """Of a call, by threads that share the calls; the least of some rounds, after one more."""
    costs = [
        timed(lambda: each(range(calls), lambda call, _: work(call), threads, _CPU))
        for _ in range(rounds + 1)
    ][1:]
    return Cost(min(c.clock for c in costs) / calls, min(c.cpu for c in costs) / calls)


def _products(dtype: torch.dtype, threads: int) -> Cost:
    """Of an operation of [tile, 2 D] × [2 D, D]."""
    x, weight = torch.randn(_TILE, 2 * WIDTH).to(dtype), torch.randn(WIDTH, 2 * WIDTH).to(dtype)
    outs = [torch.empty(_TILE, WIDTH, dtype=dtype) for _ in range(8)]

    def work(call: int) -> None:
        torch.mm(x, weight.T, out=outs[call % 8])

    return _cost(work, 400, threads).times(1 / (2.0 * _TILE * 2 * WIDTH * WIDTH))


def _look_ups(job: Job, storage: torch.dtype, threads: int) -> Cost:
    """Of a row that is found and added up."""
    table = table_of(job)
    repeats = -(-table.num_items // _TILE)
    projected = torch.randn(_TILE, WIDTH).relu_().to(storage).repeat(repeats, 1)
    tiles = list(cut(slice(0, table.num_items), _TILE))[:200]
    rows = [torch.from_numpy(np.maximum(table.neighbors[tile], 0)) for tile in tiles]
    weights = [torch.from_numpy(np.array(table.weights[tile])).to(storage) for tile in tiles]

    def work(call: int) -> None:
        F.embedding_bag(rows[call], projected, mode="sum", per_sample_weights=weights[call])

    looked_up = sum(each_rows.numel() for each_rows in rows) / len(tiles)
    return _cost(work, len(tiles), threads).times(1 / looked_up)


def _copies(scratch: Path, num_items: int, storage: torch.dtype, threads: int) -> tuple[Cost, Cost]:
    """Of a byte written to a new file, and of one read from the page cache."""
    source = torch.randn(_TILE, WIDTH).to(storage)
    count = max(1, num_items // _TILE)
    num_bytes = count * source.nbytes
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        path = Path(folder) / "rows.bin"

        def write_all() -> None:
            rows = FileRows(path, count * _TILE, WIDTH, storage)
            each(range(count), lambda call, _: rows.write(_tile(call), source), threads, _CPU)
            rows.close()

        written = []
        for _ in range(3):
            path.unlink(missing_ok=True)
            written.append(timed(write_all))
        rows = FileRows(path, count * _TILE, WIDTH, storage, is_there=True)
        into = [torch.empty_like(source) for _ in range(8)]
        read = _cost(lambda call: void(rows.read(_tile(call), into[call % 8])), count, threads)
        rows.close()
    least = Cost(min(c.clock for c in written), min(c.cpu for c in written))
    return least.times(1 / num_bytes), read.times(1 / source.nbytes)


def _tile(call: int) -> slice:
    return slice(call * _TILE, (call + 1) * _TILE)


def void(_: object) -> None:
    """Nothing of it."""
