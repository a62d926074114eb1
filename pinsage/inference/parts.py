"""A part's share of a job, by number: what a process of a cluster does, whatever starts it.

Layers lie in the files of `cut.py`; rows that other parts need are returned, for the engine to
carry.

Shapes: B items of a part or block, T neighbours, U distinct rows that a part needs, D and H widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pinsage.errors import ClusterError
from pinsage.inference.buffers import Buffers
from pinsage.inference.cut import Cut, Rows, read_rows, write_rows
from pinsage.inference.inputs import Inputs
from pinsage.inference.layers import head_block, map_block, reduce_block
from pinsage.inference.partitions import Order, need_of, placed_neighbors
from pinsage.inference.workers import TILE, cut


class Worker:
    """Does the parts' work in this process, with the model and the data open."""

    def __init__(self, job_cut: Cut) -> None:
        torch.set_num_threads(1)  # parts are what runs side by side
        self.cut = job_cut
        self.inputs = Inputs.open(job_cut.job)
        self._buffers = Buffers(self.inputs.device)
        self._sent = Buffers()  # which no GPU copies from: pinned memory would be wasted on it

    @cached_property
    def _order(self) -> Order:
        return self.cut.order()

    def encode(self, part: int) -> None:
        """Write the encoder's output for a block of the catalog, [B, D]."""
        name = "encoded" if self.cut.by_locality else "layer-0"
        self._write(self.cut.file(name, part), self.cut.size(part), self._encoded_blocks(part))

    def _write(self, path: Path, num_rows: int, blocks: Iterable[Rows]) -> None:
        write_rows(path, num_rows, blocks, lasting=self.cut.lasting)

    def _encoded_blocks(self, part: int) -> Iterator[Rows]:
        is_last = self.cut.layers == 0
        for block in cut(self.cut.block(part), self.cut.job.settings.block):
            features = self.inputs.read(block)
            for tile in self._tiles(block):
                own = features[tile.start - block.start : tile.stop - block.start]
                yield self._kept(self.inputs.encode_read(tile, own), is_last)

    def plan(self, part: int) -> list[int]:
        """Write what a part needs, and its own rows in its order; where each source's begin."""
        block = self.cut.block(part)
        table = self.inputs.table
        placed = placed_neighbors(table.neighbors, self._order, block.start, block.stop)
        need = need_of(placed, self.cut.bounds)
        if self.cut.by_locality:
            rows = self._order.rows[block]
            self._write(self.cut.layer(0, part), len(rows), [self._encoded(rows)])
            self._write(self.cut.file("weights", part), len(rows), [table.weights[rows]])
        self._write(self.cut.file("need", part), len(need.places), [need.places])
        self._write(self.cut.file("local", part), len(need.local), [need.local])
        return [int(cut) for cut in need.cuts]

    def project(self, number: int, part: int, spans: list[tuple[int, int, int]]) -> Iterator[Rows]:
        """Map: for each (target, start, stop) the rows that a part has of the target's need.

        They are computed once, in layer `number`, and come one target after the other, in the same
        memory: each is to be carried away before the next is asked for. A target that needs all of
        them gets them as they lie.
        """
        conv = self.inputs.model.layers[number - 1]
        h_BD = read_rows(self.cut.layer(number - 1, part))
        width, storage = conv.neighbour.out_features, self.inputs.storage
        projected_BH = self._sent.host("all projected", (self.cut.size(part), width), storage)
        for tile in self._own_tiles(part):
            projected_BH[tile] = map_block(conv, self._loaded(h_BD[tile]), self._buffers)
        first = self.cut.block(part).start
        for target, start, stop in spans:
            if stop - start == len(projected_BH):
                yield _as_numpy(projected_BH)
                continue
            places = read_rows(self.cut.file("need", target))[start:stop] - np.int32(first)
            packed_UH = self._sent.host("packed", (len(places), width), storage)
            torch.index_select(projected_BH, 0, torch.from_numpy(places), out=packed_UH)
            yield _as_numpy(packed_UH)

    def reduce(self, number: int, part: int, cuts: list[int], packed: list[Rows]) -> None:
        """Pool and combine a part, given its need by source, in order; write the layer, [B, D].

        Raises ClusterError where a source sent more or fewer rows than were asked for.
        """
        table_UH = self._assembled(number, part, cuts, packed)
        blocks = self._reduced_blocks(number, part, table_UH)
        self._write(self.cut.layer(number, part), self.cut.size(part), blocks)

    def _reduced_blocks(self, number: int, part: int, table_UH: Tensor) -> Iterator[Rows]:
        conv = self.inputs.model.layers[number - 1]
        local_BT, weights_BT = read_rows(self.cut.file("local", part)), self._weights(part)
        h_BD = read_rows(self.cut.layer(number - 1, part))
        for tile in self._own_tiles(part):
            reduced_BD = reduce_block(
                conv, self._loaded(h_BD[tile]), table_UH, self._moved(local_BT[tile]),
                self._moved(weights_BT[tile]), self._buffers,
            )  # fmt: skip
            yield self._kept(reduced_BD, number == self.cut.layers)

    def _assembled(self, number: int, part: int, cuts: list[int], packed: list[Rows]) -> Tensor:
        asked = [stop - start for start, stop in pairwise(cuts)]
        asked = [count for count in asked if count]
        came = [len(rows) for rows in packed]
        if came != asked:
            raise ClusterError(
                f"layer {number}, part {part}: {sum(came):,} rows came where {sum(asked):,} were "
                f"asked for; remove {self.cut.folder} and run again"
            )
        width = self.inputs.model.layers[number - 1].neighbour.out_features
        if not packed:  # padding points at a row, though nothing of it counts
            return torch.zeros((1, width), device=self.inputs.device)
        table_UH = self._buffers.host("table", (cuts[-1], width), self.inputs.storage)
        np.concatenate(packed, out=_as_numpy(table_UH))
        return self._buffers.to_device(table_UH)

    def _encoded(self, rows: npt.NDArray[np.int32]) -> Rows:
        """The encoder's output of rows of the catalog, which lie in many files."""
        bounds = self.cut.bounds
        source = np.searchsorted(bounds, rows, side="right") - 1
        grouped = np.argsort(source, kind="stable")  # a file is opened once
        starts = np.searchsorted(source[grouped], np.arange(self.cut.parts + 1))
        parts = [
            read_rows(self.cut.file("encoded", part))[rows[grouped[start:stop]] - bounds[part]]
            for part, (start, stop) in enumerate(pairwise(starts))
        ]
        return np.concatenate(parts)[np.argsort(grouped)]

    def _weights(self, part: int) -> npt.NDArray[np.float32]:
        if self.cut.by_locality:
            return read_rows(self.cut.file("weights", part))
        return self.inputs.table.weights[self.cut.block(part)]

    def _own_tiles(self, part: int) -> Iterator[slice]:
        return self._tiles(slice(0, self.cut.size(part)))

    def _tiles(self, rows: slice) -> Iterator[slice]:
        return cut(rows, min(TILE, self.cut.job.settings.block))

    def _kept(self, h_BD: Tensor, is_last: bool) -> Rows:
        """Representations as a file has them; after the last layer, embeddings in float32."""
        if is_last:
            return _as_numpy(head_block(self.inputs.model, h_BD))
        return _as_numpy(h_BD.to(self.inputs.storage))

    def _loaded(self, rows: Rows) -> Tensor:
        return self._moved(rows).view(self.inputs.storage)

    def _moved(self, rows: Rows) -> Tensor:
        # A copy: files and objects are mapped read-only, which torch warns about.
        return torch.from_numpy(np.array(rows)).to(self.inputs.device)


def _as_numpy(h_BD: Tensor) -> Rows:
    """On the host; bfloat16, which numpy has not, as int16 of the same bits."""
    h_BD = h_BD.cpu()
    rows: Rows = (h_BD.view(torch.int16) if h_BD.dtype == torch.bfloat16 else h_BD).numpy()
    return rows
