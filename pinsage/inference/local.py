"""The local engine: blocks over files, layer after layer, on this machine.

Memory holds a few blocks a thread, whatever N is, beside the model; projections are looked up in a
mapped file, of which the page cache keeps what fits. What a tile of rows computes depends neither
on which others there are nor on how many threads compute: with blocks of a multiple of 2048 items,
the result is the same to the bit.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.config import Config
from pinsage.files import staging_folder
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.graph.npy import npy_header
from pinsage.inference.engine import EMBEDDINGS, Job, require_in_range
from pinsage.inference.inputs import Inputs
from pinsage.inference.layers import encode_block
from pinsage.inference.layerwise import Blocks, LayerWise
from pinsage.inference.row_stores import FileRows, MemoryRows
from pinsage.inference.shelf import FileShelf, MemoryShelf
from pinsage.model.pinsage import PinSage

_GPU_THREADS = 2  # one reads and writes blocks while the other's is computed

Matrix = npt.NDArray[np.float32]


class LocalEngine:
    """Embeds a job on this machine; `Engine` says what of it."""

    def embed(self, job: Job, out: Path) -> None:
        """See Engine. Goes on at the layer that a killed process was at.

        Raises what `Inputs` raises.
        """
        inputs = Inputs.open(job)
        count, output = inputs.num_items, inputs.model.config.output
        is_gpu = inputs.device.type == "cuda"
        threads = max(job.threads, _GPU_THREADS) if is_gpu else job.threads
        blocks = Blocks(count, job.settings.block, threads, inputs.device)
        shelf = FileShelf(job.scratch / "local", count, inputs.storage, blocks.computed())
        header = npy_header(np.float32, (count, output))
        embeddings = FileRows(out / EMBEDDINGS, count, output, torch.float32, header=header)
        try:
            layers = LayerWise(inputs.model, inputs.table, blocks, inputs.storage)
            layers.run(inputs.read, inputs.encode_read, shelf, embeddings)
        finally:
            shelf.close()
            embeddings.close()


def embed_items(
    model: PinSage, features: TensorFrame, table: Neighbourhoods, *, block: int
) -> Matrix:
    """Embeddings of all N items, float32 [N, output], all in memory.

    The bits are those of `LocalEngine` with float32 storage on the CPU. As many threads compute as
    torch has.
    """
    count = table.num_items
    blocks = Blocks(count, block, torch.get_num_threads(), torch.device("cpu"))
    out = MemoryRows(count, model.config.output, torch.float32)

    def read(rows: slice) -> TensorFrame:
        return features[torch.arange(rows.start, rows.stop)]

    def encode(rows: slice, frame: TensorFrame) -> Tensor:
        return encode_block(model, frame, torch.arange(rows.start, rows.stop))

    layers = LayerWise(model, table, blocks, torch.float32)
    layers.run(read, encode, MemoryShelf(count, torch.float32), out)
    embeddings: Matrix = out.whole().numpy()
    return embeddings


def embed_trained(config: Config, catalog: Path, graph: Path, table: Path, trained: Path) -> Matrix:
    """Embed a catalog with the model of a train artifact; all arguments are artifact folders.

    Items that training did not know have no id vector: they rest on content and neighbours.
    Raises ConfigError where float16 is too narrow for the model's layers.
    """
    # What a kill leaves of it goes with the next, and with `pinsage gc`.
    with staging_folder(config.root / "scratch" / "embedded" / "all") as scratch:
        job = job_of(config, catalog, graph, table, trained, scratch)
        LocalEngine().embed(job, scratch)
        embeddings: Matrix = np.load(scratch / EMBEDDINGS)
        shutil.rmtree(scratch)
    require_in_range(config.embed, is_finite=bool(np.isfinite(embeddings).all()))
    return embeddings


def job_of(
    config: Config, catalog: Path, graph: Path, table: Path, trained: Path, scratch: Path
) -> Job:
    """The job of embedding a catalog with the model of a train artifact."""
    return Job(
        model=trained / "model",
        catalog=catalog,
        graph=graph,
        table=table,
        root=config.root,
        scratch=scratch,
        settings=config.embed,
        threads=config.training.threads,
    )


def read_items(catalog: Path) -> pd.DataFrame:
    """The catalog of a split or ingest artifact, in row order."""
    return pq.read_table(catalog / "items.parquet").to_pandas()
