"""What every engine reads of a job: the model, the table, and features a block at a time.

Features come from `items.parquet` by row groups, and within a group as they are asked for, so that
memory holds a block of them whatever the catalog's size is. Who asks for blocks in their order
reads each item once; who begins elsewhere skips the rows of one group at most.

Shapes: B items of a block, N of the catalog, D width of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.config import EmbedConfig
from pinsage.errors import ConfigError, GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Degree, Neighbourhoods
from pinsage.inference.engine import Job
from pinsage.inference.layers import encode_block
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text_vectors import SentenceVectors

_READ_BYTES = 1 << 20  # of a column at a time; else its whole row group is held


class Inputs:
    """A job's model and data, opened; may be shared by threads.

    Attributes:
        model: on `device`, for inference
        table: memory-mapped
        num_items: N
        storage: in which representations between layers are kept
        device: where blocks are computed
    """

    def __init__(
        self, model: PinSage, table: Neighbourhoods, features: Features, settings: EmbedConfig
    ) -> None:
        self.device = chosen_device(settings)
        self.model = model.to(self.device)
        self.table = table
        self.num_items = table.num_items
        self.storage: torch.dtype = getattr(torch, settings.storage)
        self._features = features

    @classmethod
    def open(cls, job: Job) -> Inputs:
        """Load the model and map the data.

        Raises ArtifactError where the model cannot be read, ConfigError where its device is not
        there, GraphError where catalog, graph and table are not of the same items.
        """
        model, table = load_model(job.model), Neighbourhoods.open(job.table)
        graph = BipartiteGraph.open(job.graph)
        features = Features(job.catalog / "items.parquet", model, table, graph, job.root)
        return cls(model, table, features, job.settings)

    def encode(self, rows: slice) -> Tensor:
        """The first layer's input of a block of items, float32 [B, D], on the device.

        Raises TrainingError where a feature column is not there.
        """
        return self.encode_read(rows, self.read(rows))

    def read(self, rows: slice) -> TensorFrame:
        """Features of a block of items, B rows; threads take turns."""
        return self._features.read(rows)

    def encode_read(self, rows: slice, features: TensorFrame) -> Tensor:
        """`encode` of features that were read."""
        index_B = torch.arange(rows.start, rows.stop, device=self.device)
        return encode_block(self.model, features.to(self.device), index_B)


class Features:
    """Rows of a catalog as the model's features, read forward.

    Raises GraphError where the catalog, the graph and the table differ in their number of items.
    """

    def __init__(
        self, file: Path, model: PinSage, table: Neighbourhoods, graph: BipartiteGraph, root: Path
    ) -> None:
        self._items = _Rows(file, list(model.spec.content), dense=_dense_columns(model))
        counts = (self._items.num_rows, graph.num_items, table.num_items)
        if len(set(counts)) > 1:
            raise GraphError(
                f"{file}: catalog, graph and neighbourhoods have {counts[0]:,}, {counts[1]:,} and "
                f"{counts[2]:,} items, and must be of the same ones; run the stages again"
            )
        self._spec, self._texts = model.spec, SentenceVectors.below(root)
        self._table, self._graph = table, graph
        self._lock = Lock()

    def read(self, rows: slice) -> TensorFrame:
        """Features of a block, B rows."""
        with self._lock:
            items = self._items.read(rows)
            return self._spec.transform(items, self._degree(rows), self._texts)

    def _degree(self, rows: slice) -> Degree:
        """`shown_degree` of a block, without that of all items."""
        if self._table.degree is not None:
            return self._table.degree[rows]
        return np.diff(self._graph.item_indptr[rows.start : rows.stop + 1])


class _Rows:
    """Columns of a Parquet file, read from any row on; `dense` ones stay Arrow's arrays."""

    def __init__(self, file: Path, columns: list[str], dense: list[str]) -> None:
        self._file = pq.ParquetFile(file, pre_buffer=False, buffer_size=_READ_BYTES)
        there = set(self._file.schema_arrow.names)
        self._columns = [name for name in columns if name in there]  # `transform` names the absent
        self._dense = {self._file.schema_arrow.field(name).type for name in dense if name in there}
        metadata = self._file.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self.num_rows = int(self._starts[-1])
        self._waiting: list[pa.RecordBatch] = []
        self._coming: Iterator[pa.RecordBatch] = iter(())
        self._at = -1  # the row that comes next; none yet

    def read(self, rows: slice) -> pd.DataFrame:
        """Rows of the file, with the row numbers as index."""
        count = rows.stop - rows.start
        if not self._columns:
            return pd.DataFrame(index=range(rows.start, rows.stop))
        if self._at != rows.start:
            self._seek(rows.start, count)
        table = pa.Table.from_batches(list(self._take(count)), self._schema())
        items: pd.DataFrame = table.to_pandas(types_mapper=self._mapped)
        return items.set_index(pd.RangeIndex(rows.start, rows.stop))

    def _schema(self) -> pa.Schema:
        # Without its metadata, in which pandas may have named an index.
        return pa.schema([self._file.schema_arrow.field(name) for name in self._columns])

    def _mapped(self, kind: pa.DataType) -> pd.ArrowDtype | None:
        return pd.ArrowDtype(kind) if kind in self._dense else None

    def _seek(self, row: int, batch: int) -> None:
        first = int(np.searchsorted(self._starts, row, side="right")) - 1
        groups = list(range(first, len(self._starts) - 1))
        self._waiting, self._at = [], int(self._starts[first])
        self._coming = self._file.iter_batches(
            max(batch, 1), row_groups=groups, columns=self._columns, use_threads=False
        )
        for _ in self._take(row - self._at):
            pass

    def _take(self, count: int) -> Iterator[pa.RecordBatch]:
        while count:
            batch = self._waiting.pop() if self._waiting else next(self._coming)
            if len(batch) > count:
                self._waiting.append(batch.slice(count))
                batch = batch.slice(0, count)
            count -= len(batch)
            self._at += len(batch)
            yield batch.replace_schema_metadata(None)


def chosen_device(settings: EmbedConfig) -> torch.device:
    """Where blocks are computed. Raises ConfigError where a GPU is asked for and none is there."""
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise ConfigError(
            "embed.device is cuda, and torch finds no GPU here; set it to auto or cpu, or install "
            "a torch for your GPU"
        )
    return torch.device("cuda" if has_gpu and settings.device != "cpu" else "cpu")


def _dense_columns(model: PinSage) -> list[str]:
    """Columns of ready-made vectors: as Python objects they take most of the reading's time."""
    return [column for column, kind in model.spec.columns.items() if kind == "embedding"]
