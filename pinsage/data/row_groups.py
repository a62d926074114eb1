"""Parquet files whose bytes depend on their rows alone, not on how those came together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP = 1 << 20


class RowGroups:
    """Collects rows, and writes them in groups of `size`."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema, size: int) -> None:
        self._writer = writer
        self._schema = schema
        self._size = size
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self.num_rows = 0

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Append rows, which get the types of the file."""
        if isinstance(rows, pa.RecordBatch):
            rows = pa.Table.from_batches([rows])
        self._waiting.append(rows.cast(self._schema))
        self._num_waiting += len(rows)
        self.num_rows += len(rows)
        while self._num_waiting >= self._size:
            self._write(self._size)

    def finish(self) -> None:
        """Write what is left; a file without a row has one group without a row."""
        if self._num_waiting or not self.num_rows:
            self._write(self._num_waiting)

    def _write(self, size: int) -> None:
        # Without chunks, which come from the order of arrival, equal rows give equal bytes.
        together = pa.concat_tables([self._schema.empty_table(), *self._waiting])
        self._writer.write_table(
            together.slice(0, size).combine_chunks(), row_group_size=self._size
        )
        self._waiting = [together.slice(size)]
        self._num_waiting -= size


@contextmanager
def row_groups(file: Path, schema: pa.Schema, size: int = ROW_GROUP) -> Iterator[RowGroups]:
    """A file to write; without an exception it is whole at the end."""
    with pq.ParquetWriter(file, schema) as writer:
        groups = RowGroups(writer, schema, size)
        yield groups
        groups.finish()


def write_rows(file: Path, schema: pa.Schema, parts: Iterable[pa.Table | pa.RecordBatch]) -> int:
    """Write all parts; returns the number of rows."""
    with row_groups(file, schema) as groups:
        for part in parts:
            groups.add(part)
    return groups.num_rows


def stored_batches(
    file: Path, groups: list[int] | None = None, size: int = 1 << 17
) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file, or of some of its row groups, without holding more of it."""
    with pq.ParquetFile(file, pre_buffer=False) as source:
        yield from source.iter_batches(batch_size=size, row_groups=groups)
