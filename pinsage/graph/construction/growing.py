"""A CSR that grows on disk row by row, and goes on where it was after a kill.

<prefix>_indptr.npy, _indices.npy, _thresholds.npy; _weights.npy for the other direction alone
<prefix>.json   rows and edges that are complete; what lies behind them in a file is ignored
"""

from __future__ import annotations

import io
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.files import write_atomic

_PUBLISHED = ("indptr", "indices", "thresholds")


class GrowingArray:
    """A `.npy` file of one dimension that is appended to; its first `count` entries count."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, count: int) -> None:
        self.path, self.dtype, self.count = path, np.dtype(dtype), count
        path.touch()
        with path.open("r+b") as stream:
            stream.write(_header(self.dtype, 0))
            # What a killed process wrote behind the last complete row is cut off.
            stream.truncate(self._place(count))

    @staticmethod
    def holds(path: Path, dtype: npt.DTypeLike, count: int) -> bool:
        """Whether a file has as many entries at least."""
        needed = len(_header(np.dtype(dtype), 0)) + count * np.dtype(dtype).itemsize
        return path.exists() and path.stat().st_size >= needed

    def append(self, values: npt.NDArray[Any]) -> None:
        """Write values behind those there are, and flush them to the disk."""
        with self.path.open("r+b") as stream:
            stream.seek(self._place(self.count))
            np.ascontiguousarray(values, dtype=self.dtype).tofile(stream)
            stream.flush()
            os.fsync(stream.fileno())
        self.count += len(values)

    def read(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Entries `start` to `stop`, read into memory of their own."""
        place = self._place(start)
        return np.fromfile(self.path, self.dtype, count=stop - start, offset=place)

    def finish(self) -> None:
        """Say in the header how many entries there are."""
        with self.path.open("r+b") as stream:
            stream.write(_header(self.dtype, self.count))

    def _place(self, entry: int) -> int:
        return len(_header(self.dtype, 0)) + entry * self.dtype.itemsize


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
                target = out / array.path.name
                try:
                    os.link(array.path, target)  # one content, two names: no byte is copied
                except OSError:
                    shutil.copyfile(array.path, target)  # a file system without hard links


def _header(dtype: np.dtype[Any], count: int) -> bytes:
    """The header of a `.npy` file: numpy leaves room in it for any count."""
    header = io.BytesIO()
    described = {"descr": dtype.str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()
