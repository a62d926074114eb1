"""The local engine: blocks over memory-mapped intermediates, one layer after the other.

Memory holds one layer's projections at most as far as the page cache keeps them; what a block
computes does not depend on which other blocks there are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.config import Config
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.layers import encode_block, head_block, map_block, reduce_block
from pinsage.model.conv import PinSageConv
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text_vectors import SentenceVectors

Matrix = npt.NDArray[np.float32]


def embed_items(
    model: PinSage,
    features: TensorFrame,
    table: Neighbourhoods,
    *,
    block: int,
    folder: Path | None = None,
) -> Matrix:
    """Embeddings of all N items, float32 [N, output].

    Intermediates live in memory, or as files in `folder` where one is given.
    """
    shelf = _Shelf(table.num_items, folder)
    current = shelf.new("layer-0", model.config.hidden)
    for rows in _blocks(table.num_items, block):
        index = torch.arange(rows.start, rows.stop)
        current[rows] = encode_block(model, features[index], index)
    for number, conv in enumerate(model.layers, start=1):
        current = _convolve(conv, current, table, shelf, number, block)
    out = np.empty((table.num_items, model.config.output), dtype=np.float32)
    for rows in _blocks(table.num_items, block):
        out[rows] = head_block(model, current[rows]).numpy()
    return out


def embed_trained(config: Config, catalog: Path, graph: Path, table: Path, trained: Path) -> Matrix:
    """Embed a catalog with the model of a train artifact; all arguments are artifact folders.

    Items that training did not know have no id vector: they rest on content and neighbours.
    """
    torch.set_num_threads(config.training.threads)
    model = load_model(trained / "model")
    near = Neighbourhoods.open(table)
    degree = near.shown_degree(BipartiteGraph.open(graph))
    texts = SentenceVectors.below(config.root)
    features = model.spec.transform(read_items(catalog), degree, texts)
    with tempfile.TemporaryDirectory(dir=config.root) as folder:
        return embed_items(
            model, features, near, block=config.embed.block, folder=Path(folder)
        )  # fmt: skip


def read_items(catalog: Path) -> pd.DataFrame:
    """The catalog of a split or ingest artifact, in row order."""
    return pq.read_table(catalog / "items.parquet").to_pandas()


def _convolve(
    conv: PinSageConv,
    current: Tensor,
    table: Neighbourhoods,
    shelf: _Shelf,
    number: int,
    block: int,
) -> Tensor:
    projected = shelf.new(f"projected-{number}", conv.neighbour.out_features)
    for rows in _blocks(table.num_items, block):
        projected[rows] = map_block(conv, current[rows])
    following = shelf.new(f"layer-{number}", conv.update_self.out_features)
    for rows in _blocks(table.num_items, block):
        neighbors, weights = _tensors(table.neighbors[rows], table.weights[rows])
        following[rows] = reduce_block(conv, current[rows], projected, neighbors, weights)
    shelf.drop(f"projected-{number}", f"layer-{number - 1}")
    return following


def _tensors(neighbors: npt.NDArray[np.int32], weights: Matrix) -> tuple[Tensor, Tensor]:
    # Copies: the table is mapped read-only, which torch warns about.
    return torch.from_numpy(neighbors.astype(np.int64)), torch.from_numpy(np.array(weights))


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


class _Shelf:
    """Matrices of N rows, in memory or as memory-mapped files."""

    def __init__(self, num_rows: int, folder: Path | None) -> None:
        self._num_rows = num_rows
        self._folder = folder

    def new(self, name: str, width: int) -> Tensor:
        shape = (self._num_rows, width)
        if self._folder is None or self._num_rows == 0:
            return torch.empty(shape)
        mapped: Any = np.lib.format.open_memmap(
            self._folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape
        )
        return torch.from_numpy(mapped)

    def drop(self, *names: str) -> None:
        for name in names:
            if self._folder is not None:
                (self._folder / f"{name}.npy").unlink(missing_ok=True)
