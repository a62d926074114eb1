"""A job cut into parts, and the files that carry it from part to part and from layer to layer.

They lie in a folder that all processes see. Every file appears whole or not at all, and whoever
finds it whole does not make it again. Two processes may make the same one, where a cluster took the
first for dead: the last to finish wins, and its bytes are the same.

Where other nodes would go on with what a lost one wrote, each file is on the disk before it is
there. On a single node nobody waits for that: when its power goes the job ends too, and the next
one makes every file again whose sum is not that of its bytes.

Shapes: N items, P parts, B items of a part.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.graph.npy import npy_header
from pinsage.inference.engine import EMBEDDINGS, Job
from pinsage.inference.partitions import Bounds, Order, block_bounds, locality_order

Rows = npt.NDArray[Any]
_ORDER = "order.npy"


@dataclass(frozen=True)
class Cut:
    """A job in parts; it travels to other processes.

    Attributes:
        job: paths that every process sees
        folder: what the parts write, below the job's scratch
        num_items, parts, layers: N, P and the number of convolutions
        by_locality: in an order of its own, else the catalog's
        lasting: files outlive the machine that wrote them
        attempt: another one each time, so that no process goes on with what it had open before
    """

    job: Job
    folder: Path
    num_items: int
    parts: int
    layers: int
    by_locality: bool
    lasting: bool
    attempt: str

    @property
    def bounds(self) -> Bounds:
        """Of the blocks, [P + 1]."""
        return block_bounds(self.num_items, self.parts)

    def block(self, part: int) -> slice:
        """The places of a part."""
        return slice(part * self.num_items // self.parts, (part + 1) * self.num_items // self.parts)

    def size(self, part: int) -> int:
        """B, the items of a part."""
        block = self.block(part)
        return int(block.stop - block.start)

    def file(self, name: str, part: int) -> Path:
        """Where a part keeps something."""
        return self.folder / f"{name}-{part}.npy"

    def layer(self, number: int, part: int) -> Path:
        """A part's representations after a layer, 0 being the encoder's."""
        return self.file(f"layer-{number}", part)

    def missing(self, name: str) -> list[int]:
        """The parts that have not made something yet."""
        return [
            part
            for part in range(self.parts)
            if not _is_whole(self.file(name, part), self.size(part))
        ]

    def write_order(self) -> None:
        """Find the order by locality, unless it is there."""
        path = self.folder / _ORDER
        if not self.by_locality or _is_whole(path, self.num_items):
            return
        table = Neighbourhoods.open(self.job.table)
        rows = locality_order(table.neighbors, table.weights).rows
        write_rows(path, self.num_items, [rows], lasting=self.lasting)

    def order(self) -> Order:
        """The order of the items."""
        if self.by_locality:
            return Order.of(np.load(self.folder / _ORDER))
        return Order.catalog(self.num_items)

    def collect(self, out: Path) -> None:
        """Write `embeddings.npy` of all parts into the folder `out`, in catalog order."""
        rows, bounds = self.order().rows, self.bounds
        width = read_rows(self.layer(self.layers, 0)).shape[1]
        shape = (self.num_items, width)
        whole: Any = np.lib.format.open_memmap(
            out / EMBEDDINGS, mode="w+", dtype=np.float32, shape=shape
        )
        for part in range(self.parts):
            whole[rows[bounds[part] : bounds[part + 1]]] = read_rows(self.layer(self.layers, part))


def write_rows(path: Path, num_rows: int, blocks: Iterable[Rows], *, lasting: bool = False) -> None:
    """Write blocks of rows as one `.npy` file, which appears whole, with a sum at its end.

    If `lasting`, it is on the disk before it appears.
    """
    # Not `replacing`: it sweeps what dead processes left, and knows this host's processes only.
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    total = 0
    try:
        with temporary.open("wb") as file:
            for number, block in enumerate(blocks):
                rows = np.ascontiguousarray(block)
                if not number:
                    header = npy_header(rows.dtype, (num_rows, *rows.shape[1:]))
                    file.write(header)
                    total += sum(header)
                file.write(rows.data)
                total += _sum(rows)
            file.write(_last_bytes(total))
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_rows(path: Path) -> Rows:
    """What `write_rows` wrote, memory-mapped."""
    rows: Rows = np.load(path, mmap_mode="r")
    return rows


def _is_whole(path: Path, num_rows: int) -> bool:
    try:
        rows = np.load(path, mmap_mode="r")
        with path.open("rb") as file:
            header = file.read(rows.offset)
            file.seek(rows.offset + rows.nbytes)
            behind = file.read()
    except _UNREADABLE:
        return False
    return len(rows) == num_rows and behind == _last_bytes(sum(header) + _sum(rows))


def _sum(rows: Rows) -> int:
    """Of the words of rows: another one where some of them are not there, not where they moved."""
    row_bytes = rows.itemsize * math.prod(rows.shape[1:])
    word = next(kind for kind in _WORDS if not row_bytes % np.dtype(kind).itemsize)
    return int(rows.reshape(-1).view(word).sum(dtype=np.uint64))


def _last_bytes(total: int) -> bytes:
    return (total % (1 << 64)).to_bytes(8, "little")


_UNREADABLE = (OSError, ValueError, EOFError, SyntaxError, TokenError)  # the header is Python's
_WORDS = (np.uint64, np.uint32, np.uint16, np.uint8)
