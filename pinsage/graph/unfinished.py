"""A table of neighbours that grows block by block on disk, and goes on where a kill left it.

    neighbors.npy, weights.npy   a header for all rows, then those made so far, the last maybe torn
    finished.json                how many of them count

A block's rows are on the disk before the mark that counts them is, so what is counted is whole.
"""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pinsage.files import link_or_copy, write_atomic
from pinsage.graph.neighbourhoods import Neighbourhoods, Rows
from pinsage.graph.npy import npy_header

_MARK = "finished.json"
_DTYPES = {"neighbors.npy": np.dtype(np.int32), "weights.npy": np.dtype(np.float32)}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finished:
    """The first `rows` rows of a table [num_items, size] are on disk; `walked` were not copied."""

    num_items: int
    size: int
    rows: int = 0
    walked: int = 0


class UnfinishedTable:
    """Rows of a table [N, T] in a stage's scratch folder; `finished` says how far it is."""

    def __init__(self, folder: Path, num_items: int, size: int) -> None:
        self._folder = folder
        fresh = Finished(num_items, size)
        shape = (num_items, size)
        self._headers = {name: npy_header(dtype, shape) for name, dtype in _DTYPES.items()}
        self.finished = self._found(fresh)
        if self.finished.rows:
            _log.info("going on after %d of %d neighbourhoods", self.finished.rows, num_items)
            return
        for name, header in self._headers.items():
            (folder / name).write_bytes(header)

    @property
    def is_finished(self) -> bool:
        """Whether all rows are there."""
        return self.finished.rows == self.finished.num_items

    def append(self, rows: Rows, walked: int) -> None:
        """Keep the rows of the next items, of which `walked` were walked and the others copied."""
        for name, values in zip(_DTYPES, rows, strict=True):
            with (self._folder / name).open("r+b") as stream:
                stream.seek(self._end_of(name, self.finished))
                stream.write(np.ascontiguousarray(values, dtype=_DTYPES[name]).data)
                stream.flush()
                os.fsync(stream.fileno())
        self.finished = replace(
            self.finished,
            rows=self.finished.rows + len(rows[0]),
            walked=self.finished.walked + walked,
        )
        write_atomic(self._folder / _MARK, json.dumps(asdict(self.finished)))

    def open(self) -> Neighbourhoods:
        """The finished table, memory-mapped."""
        return Neighbourhoods.open(self._folder)

    def hand_over(self, out: Path) -> None:
        """Put the finished files into a folder; they stay here too, until the stage is done."""
        for name in _DTYPES:
            link_or_copy(self._folder / name, out / name)

    def _found(self, fresh: Finished) -> Finished:
        """What an earlier process has finished; nothing, where that cannot be told for sure."""
        with suppress(OSError, ValueError, TypeError):
            found = Finished(**json.loads((self._folder / _MARK).read_text()))
            is_of_this_table = replace(found, rows=0, walked=0) == fresh
            if is_of_this_table and 0 < found.rows <= fresh.num_items and self._holds(found):
                return found
        return fresh

    def _holds(self, finished: Finished) -> bool:
        return all(
            (self._folder / name).stat().st_size >= self._end_of(name, finished) for name in _DTYPES
        )

    def _end_of(self, name: str, finished: Finished) -> int:
        rows_bytes = finished.rows * finished.size * _DTYPES[name].itemsize
        return len(self._headers[name]) + rows_bytes
