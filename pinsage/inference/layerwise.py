"""All items, layer by layer: what each layer does to a block, whatever engine keeps the rows.

Layer k reads each block's own rows and its rows of the table, looks its neighbours' projections up,
and hands what comes out to layer k + 1 at once: as its input, and projected. So a block is read and
written once a layer, and the last layer writes embeddings.

Shapes: B items of a tile, N of the catalog, T neighbours, D and H widths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.buffers import Buffers
from pinsage.inference.layers import computed_in, head_block, map_block, reduce_block
from pinsage.inference.looked_up import looked_up
from pinsage.inference.row_stores import FileRows, RowStore
from pinsage.inference.shelf import Layer, Shelf
from pinsage.inference.workers import TILE, cut, each
from pinsage.model.pinsage import PinSage

T = TypeVar("T")
Encode = Callable[[slice, TensorFrame], Tensor]


@dataclass(frozen=True)
class Blocks:
    """How N rows are cut, and who computes them.

    Attributes:
        num_rows: N
        size: rows whose features are read at a time
        threads: that compute at the same time
        device: where
        tile: rows that are computed at a time, at most `size`
    """

    num_rows: int
    size: int
    threads: int
    device: torch.device
    tile: int = TILE

    def read(self) -> list[slice]:
        """Blocks of features."""
        return list(cut(slice(0, self.num_rows), self.size))

    def computed(self, rows: slice | None = None) -> list[slice]:
        """Tiles, of one block or of all: the same cuts, so that any block's are among all."""
        blocks = self.read() if rows is None else [rows]
        return [tile for block in blocks for tile in cut(block, min(self.tile, self.size))]


class LayerWise:
    """One model over one table, cut into blocks.

    `encode` turns a tile's features into the first layer's input, float32 [B, D], on the device.
    """

    def __init__(
        self, model: PinSage, table: Neighbourhoods, blocks: Blocks, storage: torch.dtype
    ) -> None:
        self._model, self._table, self._blocks = model, table, blocks
        self._storage = storage
        self.widths = [
            (conv.neighbour.in_features, conv.neighbour.out_features) for conv in model.layers
        ]

    def run(
        self, features: Callable[[slice], TensorFrame], encode: Encode, shelf: Shelf, out: RowStore
    ) -> None:
        """Write all embeddings to `out`; goes on from a layer that is on the shelf."""
        layer = shelf.found(self.widths)
        if layer is None:
            layer = self._begin(features, encode, shelf, out)
        while layer is not None:
            layer = self._convolve(layer, shelf, out)
        shelf.clear()

    def _begin(
        self, features: Callable[[slice], TensorFrame], encode: Encode, shelf: Shelf, out: RowStore
    ) -> Layer | None:
        following = self._new(1, shelf)

        def work(block: tuple[slice, TensorFrame], buffers: Buffers) -> None:
            rows, frame = block
            for tile in self._blocks.computed(rows):
                own = frame[tile.start - rows.start : tile.stop - rows.start]
                h_BD = encode(tile, own).to(computed_in(self._storage))
                self._hand_on(tile, h_BD, following, out, buffers)

        # Features are read in the order of blocks, each when a thread has time for it.
        read = ((rows, features(rows)) for rows in self._blocks.read())
        self._each(read, work)
        return self._finished(following, shelf)

    def _convolve(self, layer: Layer, shelf: Shelf, out: RowStore) -> Layer | None:
        conv = self._model.layers[layer.number - 1]
        following = self._new(layer.number + 1, shelf)
        neighbours = looked_up(layer.projected.whole(), self._blocks.device)

        def work(tile: slice, buffers: Buffers) -> None:
            if isinstance(layer.own, FileRows):
                layer.own.ahead(self._next(tile))
            count = tile.stop - tile.start
            own = buffers.host("own", (count, layer.own.width), layer.own.dtype)
            h_BD = buffers.to_device(layer.own.read(tile, own))
            projected, rows_BT = neighbours(self._rows(tile, buffers), buffers)
            weights_BT = buffers.host("weights", rows_BT.shape, torch.float32)
            weights_BT.numpy()[:] = self._table.weights[tile]
            reduced = reduce_block(
                conv, h_BD, projected, rows_BT, buffers.to_device(weights_BT), buffers
            )
            self._hand_on(tile, reduced, following, out, buffers)

        self._each(self._blocks.computed(), work)
        return self._finished(following, shelf)

    def _rows(self, tile: slice, buffers: Buffers) -> Tensor:
        shape = (tile.stop - tile.start, self._table.size)
        rows_BT = buffers.host("neighbors", shape, torch.int32)
        rows_BT.numpy()[:] = self._table.neighbors[tile]
        return rows_BT

    def _next(self, tile: slice) -> slice:
        last = min(self._blocks.num_rows, tile.stop + self._blocks.size)
        return slice(tile.stop, last)

    def _new(self, number: int, shelf: Shelf) -> Layer | None:
        if number > len(self.widths):
            return None
        return shelf.new(number, self.widths[number - 1])

    def _hand_on(
        self, tile: slice, h_BD: Tensor, layer: Layer | None, out: RowStore, buffers: Buffers
    ) -> None:
        if layer is None:
            out.write(tile, buffers.to_host("out", head_block(self._model, h_BD)))
            return
        projected = map_block(self._model.layers[layer.number - 1], h_BD, buffers)
        layer.own.write(tile, buffers.to_host("own out", h_BD.to(self._storage)))
        layer.projected.write(tile, buffers.to_host("projected out", projected.to(self._storage)))

    def _finished(self, layer: Layer | None, shelf: Shelf) -> Layer | None:
        if layer is not None:
            shelf.finish(layer)
        return layer

    def _each(self, blocks: Iterable[T], work: Callable[[T, Buffers], None]) -> None:
        each(blocks, work, self._blocks.threads, self._blocks.device)
