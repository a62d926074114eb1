"""A CSR that grows on disk row by row, and goes on where it was after a kill.

<prefix>_indptr.npy, _indices.npy, _thresholds.npy; _weights.npy for the other direction alone
<prefix>.json   rows and edges that are complete; what lies behind them in a file is ignored
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.files import link_or_copy, write_atomic
from pinsage.graph.npy import npy_header

_PUBLISHED = ("indptr", "indices", "thresholds")


class GrowingArray:
    """A `.npy` file of one dimension that is appended to; its first `count` entries count."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, count: int) -> None:
        self.path, self.dtype, self.count = path, np.dtype(dtype), count
        path.touch()
        with path.open("r+b") as stream:
            stream.write(_header(self.dtype, 0))
            # What a killed process wrote behind the last complete row is cut off.
            stream.truncate(_place(self.dtype, count))

    @staticmethod
    def holds(path: Path, dtype: npt.DTypeLike, count: int) -> bool:
        """Whether a file has as many entries at least."""
        return path.exists() and path.stat().st_size >= _place(dtype, count)

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write values behind those there are, and flush them to the disk."""
        with self.path.open("r+b") as stream:
            stream.seek(_place(self.dtype, self.count))
            np.ascontiguousarray(values, dtype=self.dtype).tofile(stream)
            stream.flush()
            os.fsync(stream.fileno())
        self.count += len(values)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries `start` to `stop`, read into memory of their own."""
        place = _place(self.dtype, start)
        return np.fromfile(self.path, self.dtype, count=stop - start, offset=place)

    def finish(self) -> None:
        """Say in the header how many entries there are."""
        with self.path.open("r+b") as stream:
            stream.write(_header(self.dtype, self.count))


class GrowingCsr:
    """The CSR `prefix` in `folder`, of which `rows` rows with `edges` edges are complete.

    A weighted one has thresholds; it keeps the weights as well where `keeps_weights`.
    """

    def __init__(
        self,
        folder: Path,
        prefix: str,
        num_rows: int,
        *,
        weighted: bool,
        keeps_weights: bool = False,
    ) -> None:
        self._state = folder / f"{prefix}.json"
        dtypes: dict[str, npt.DTypeLike] = {"indptr": np.int64, "indices": np.int32}
        dtypes |= {"thresholds": np.uint32} if weighted else {}
        dtypes |= {"weights": np.float64} if keeps_weights else {}
        files = {name: folder / f"{prefix}_{name}.npy" for name in dtypes}
        found = json.loads(self._state.read_text()) if self._state.exists() else {}
        counts = {name: found.get("edges", 0) for name in dtypes}
        counts["indptr"] = found["rows"] + 1 if found else 0
        if not all(GrowingArray.holds(files[name], dtypes[name], counts[name]) for name in dtypes):
            found, counts = {}, dict.fromkeys(dtypes, 0)  # someone cleaned up: begin anew
        self.num_rows = num_rows
        self.rows: int = found.get("rows", 0)
        self.edges: int = found.get("edges", 0)
        arrays = {name: GrowingArray(files[name], dtypes[name], counts[name]) for name in dtypes}
        self.indptr, self.indices = arrays["indptr"], arrays["indices"]
        self.thresholds, self.weights = arrays.get("thresholds"), arrays.get("weights")
        if not found:
            self.indptr.append(np.zeros(1, dtype=np.int64))

    @property
    def is_whole(self) -> bool:
        """Whether every row is there."""
        return self.rows == self.num_rows

    def append(
        self,
        lengths: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int32],
        weights: npt.NDArray[np.float64],
        thresholds: npt.NDArray[np.uint32],
    ) -> None:
        """Append whole rows: the edges of each, and their columns, which may be empty if unused."""
        self.indptr.append(self.edges + np.cumsum(lengths))
        self.indices.append(indices)
        if self.thresholds is not None:
            self.thresholds.append(thresholds)
        if self.weights is not None:
            self.weights.append(weights)
        self.rows += len(lengths)
        self.edges += len(indices)
        write_atomic(self._state, json.dumps({"rows": self.rows, "edges": self.edges}))

    def publish(self, out: Path) -> None:
        """Put the finished `.npy` files into `out`; they stay here too, in case of a kill."""
        for name in _PUBLISHED:
            array: GrowingArray | None = getattr(self, name)
            if array is not None:
                array.finish()
                link_or_copy(array.path, out / array.path.name)


def _header(dtype: npt.DTypeLike, count: int) -> bytes:
    return npy_header(dtype, (count,))


def _place(dtype: npt.DTypeLike, entry: int) -> int:
    """Where in a file an entry begins, in bytes."""
    return len(_header(dtype, 0)) + entry * np.dtype(dtype).itemsize
