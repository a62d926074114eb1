"""What embedding all items takes at least: its products, its look-ups and its bytes.

Each part is timed alone, by as many threads as the engine has, by the clock and in CPU time:
products of a tile at full rate; `embedding_bag` over the job's own table and a matrix of the size
of a layer's projections; the catalog's Parquet decoded by Arrow, with nothing done to it; blocks
written to a new file, and read back from the page cache.

Legend: N items, T neighbours, D width, L layers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
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
    read = num_items * LAYERS * (WIDTH * number + 8 * size)
    write_cost, read_cost = _copies(scratch, num_items, storage, threads)
    ends = _products(torch.float32, threads).times(num_items * exact)
    layers = _products(storage, threads).times(num_items * layered)
    return {
        "products": Cost(ends.clock + layers.clock, ends.cpu + layers.cpu),
        "look-ups": _look_ups(job, storage, threads).times(LAYERS * num_items * size),
        "decoding": _decoding(job, threads),
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


def _decoding(job: Job, threads: int, rounds: int = 3) -> Cost:
    """Of the catalog; shared out evenly, though the engine's threads take turns at it."""

    def work() -> None:
        file = pq.ParquetFile(job.catalog / "items.parquet", pre_buffer=False)
        for _ in file.iter_batches(job.settings.block, use_threads=False):
            pass

    cpu = min(timed(work).cpu for _ in range(rounds))
    return Cost(cpu / threads, cpu)


def _copies(
    scratch: Path, num_items: int, storage: torch.dtype, threads: int, rounds: int = 2
) -> tuple[Cost, Cost]:
    """Of a byte written to a new file, and of one read from the page cache.

    As many files are written as the engine writes, and all are kept to the end. The least of some
    rounds: memory that the kernel has just had back is written several times as fast as memory that
    it takes anew, and the engine, which runs next, finds it like that.
    """
    count = max(1, num_items // _TILE)
    kinds = [storage] * (2 * LAYERS) + [torch.float32]
    sources = {kind: torch.randn(_TILE, WIDTH).to(kind) for kind in kinds}
    costs = [_copied(scratch, kinds, sources, count, threads) for _ in range(rounds)]
    written, read = (
        Cost(min(cost.clock for cost in each_way), min(cost.cpu for cost in each_way))
        for each_way in zip(*costs, strict=True)
    )
    num_bytes = count * sum(sources[kind].nbytes for kind in kinds)
    return written.times(1 / num_bytes), read.times(1 / sources[storage].nbytes)


def _copied(
    scratch: Path, kinds: list[torch.dtype], sources: dict[torch.dtype, torch.Tensor], count: int,
    threads: int,
) -> tuple[Cost, Cost]:  # fmt: skip
    """Of all files written, and of a tile of the first one read."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        written = Cost(0.0, 0.0)
        for number, kind in enumerate(kinds):
            rows = FileRows(Path(folder) / f"{number}.bin", count * _TILE, WIDTH, kind)
            work = partial(_write, rows, sources[kind])
            cost = timed(partial(each, range(count), work, threads, _CPU))
            written = Cost(written.clock + cost.clock, written.cpu + cost.cpu)
            rows.close()
        first = kinds[0]
        rows = FileRows(Path(folder) / "0.bin", count * _TILE, WIDTH, first, is_there=True)
        into = [torch.empty_like(sources[first]) for _ in range(8)]
        read = _cost(lambda call: _read(rows, call, into[call % 8]), count, threads)
        rows.close()
    return written, read


def _write(rows: FileRows, source: torch.Tensor, call: int, _: object) -> None:
    rows.write(_tile(call), source)


def _read(rows: FileRows, call: int, into: torch.Tensor) -> None:
    rows.read(_tile(call), into)


def _tile(call: int) -> slice:
    return slice(call * _TILE, (call + 1) * _TILE)
