"""Sources to Parquet, batch by batch: how rows land, whatever table they belong to.

Ids and categories land as text and get their type when the last batch has been seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.data.columns import Key
from pinsage.data.tables import Table


def land(
    table: Table,
    columns: list[str],
    convert: Callable[[pa.RecordBatch], pa.RecordBatch],
    schema_of: Callable[[pa.RecordBatch], pa.Schema],
    file: Path,
) -> tuple[int, int]:
    """Convert and write batch by batch; returns how many rows were read and how many written.

    Without a batch there is no file, since the first one may say what the columns are.
    """
    num_read = num_written = 0
    writer: pq.ParquetWriter | None = None
    try:
        for batch in table.batches(list(dict.fromkeys(columns))):
            num_read += batch.num_rows
            if writer is None:
                writer = pq.ParquetWriter(file, schema_of(batch))
            converted = convert(batch)
            num_written += converted.num_rows
            writer.write_batch(converted)
    finally:
        if writer is not None:
            writer.close()
    return num_read, num_written


def retype(landed: Path, schema: pa.Schema, file: Path) -> None:
    """Give the key columns their final type."""
    # With pre_buffer, row groups that have been read are held until the end of the file.
    source = pq.ParquetFile(landed, pre_buffer=False)
    if source.schema_arrow.equals(schema):
        landed.rename(file)
        return
    with pq.ParquetWriter(file, schema) as writer:
        for batch in source.iter_batches():
            writer.write_batch(batch.cast(schema))


def key_of(table: Table, column: str, *, infer: bool = True) -> Key:
    """The ids or categories of a column; only a source without types has integers to infer."""
    return Key(named(table, column), infer=infer and not table.typed)


def named(table: Table, column: str) -> str:
    """A column of a table, for messages."""
    return f"{table.where}: column {column!r}"


def common_type(keys: Iterable[str | None]) -> pa.DataType:
    """One type for ids of several tables, each `int64`, `string` or None where none has an id.

    7 and "7" would not find each other, so one text makes them all text.
    """
    seen = {kind for kind in keys if kind is not None}
    return pa.int64() if seen == {"int64"} else pa.string()
