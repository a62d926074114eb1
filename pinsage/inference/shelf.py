"""Where layers stand while others are computed from them: in memory, or in files that last.

    layer-2.bin, projected-3.bin, finished.json     the two that layer 3 is computed from

`finished.json` names the last layer all of whose rows are there, with digests of its files; it is
replaced in one step, and only then does the layer before go. What a killed process left is gone on
from, or where it is not what the mark says, computed anew.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from pinsage.files import write_atomic
from pinsage.inference.row_stores import FileRows, MemoryRows, RowStore

_MARK = "finished.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """A layer's input: representations [N, D] and their projections [N, H].

    `number` is the convolution that they go into, from 1 on.
    """

    number: int
    own: RowStore
    projected: RowStore


class Shelf(Protocol):
    """Keeps layers."""

    def found(self, widths: Sequence[tuple[int, int]]) -> Layer | None:
        """The last finished layer of an earlier process; `widths` are D and H, by layer."""
        ...

    def new(self, number: int, widths: tuple[int, int]) -> Layer:
        """An empty layer, to be written."""
        ...

    def finish(self, layer: Layer) -> None:
        """All rows of a layer are written: those before go."""
        ...

    def clear(self) -> None:
        """Nothing is needed any more."""
        ...

    def close(self) -> None:
        """Nothing is read or written any more; what lasts stays."""
        ...


class MemoryShelf:
    """Layers in memory: gone with whoever uses them."""

    def __init__(self, num_rows: int, storage: torch.dtype) -> None:
        self._num_rows, self._storage = num_rows, storage

    def found(self, widths: Sequence[tuple[int, int]]) -> Layer | None:
        """None."""
        del widths
        return None

    def new(self, number: int, widths: tuple[int, int]) -> Layer:
        """See Shelf."""
        own, projected = (MemoryRows(self._num_rows, width, self._storage) for width in widths)
        return Layer(number, own, projected)

    def finish(self, layer: Layer) -> None:
        """See Shelf."""

    def clear(self) -> None:
        """See Shelf."""

    def close(self) -> None:
        """See Shelf."""


class FileShelf:
    """Layers in a folder of their own, of N rows written in `blocks`."""

    def __init__(
        self, folder: Path, num_rows: int, storage: torch.dtype, blocks: Sequence[slice]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._num_rows, self._storage = folder, num_rows, storage
        self._blocks = blocks
        self._open: list[FileRows] = []

    def found(self, widths: Sequence[tuple[int, int]]) -> Layer | None:
        """See Shelf."""
        layer = None
        with suppress(OSError, EOFError, ValueError, TypeError, KeyError, IndexError):
            mark = json.loads((self._folder / _MARK).read_text())
            number = int(mark["layer"])
            if mark == self._mark(number, mark["digests"]):
                layer = self._layer(number, widths[number - 1], is_there=True)
                self._check(layer, mark["digests"])
                _log.info("going on at layer %d", number)
                self._sweep(layer)
                return layer
        if layer is not None:
            _log.warning("%s: what was left of layer %d is damaged, beginning anew",
                         self._folder, layer.number)  # fmt: skip
        self.clear()
        return None

    def new(self, number: int, widths: tuple[int, int]) -> Layer:
        """See Shelf."""
        return self._layer(number, widths, is_there=False)

    def finish(self, layer: Layer) -> None:
        """See Shelf."""
        digests = [rows.digest() for rows in _files(layer)]
        write_atomic(self._folder / _MARK, json.dumps(self._mark(layer.number, digests)))
        self._sweep(layer)

    def clear(self) -> None:
        """See Shelf."""
        (self._folder / _MARK).unlink(missing_ok=True)
        self._sweep(None)

    def close(self) -> None:
        """See Shelf."""
        for rows in self._open:
            rows.close()
        self._open = []

    def _mark(self, number: int, digests: list[str]) -> dict[str, Any]:
        return {"layer": number, "rows": self._num_rows, "storage": str(self._storage),
                "digests": digests}  # fmt: skip

    def _layer(self, number: int, widths: tuple[int, int], *, is_there: bool) -> Layer:
        rows = []
        for name, width in zip(("layer", "projected"), widths, strict=True):
            path = self._folder / f"{name}-{number}.bin"
            file = FileRows(path, self._num_rows, width, self._storage, is_there=is_there)
            rows.append(file)
            self._open.append(file)
        return Layer(number, *rows)

    def _check(self, layer: Layer, digests: list[str]) -> None:
        for rows, digest in zip(_files(layer), digests, strict=True):
            if not rows.is_whole(digest, self._blocks):
                raise ValueError

    def _sweep(self, kept: Layer | None) -> None:
        files = [] if kept is None else _files(kept)
        for rows in self._open:
            if rows not in files:
                rows.close()
        self._open = files
        names = {rows.path.name for rows in files} | {_MARK}
        for path in self._folder.iterdir():
            if path.name not in names:
                path.unlink()


def _files(layer: Layer) -> list[FileRows]:
    return [rows for rows in (layer.own, layer.projected) if isinstance(rows, FileRows)]
