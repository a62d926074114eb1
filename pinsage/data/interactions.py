"""Interactions as they land: of a whole source, or of one file of a folder, which is a part.

A part is a function of its file and of the settings alone, whatever lies beside it, so that a
store may keep it: a folder to which a day was added has one file to read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import InteractionsConfig
from pinsage.data.arrow import Column, pc
from pinsage.data.columns import Key, to_numbers
from pinsage.data.landing import key_of, land, named, retype
from pinsage.data.sources import FileTable
from pinsage.data.tables import Table
from pinsage.data.times import to_micros
from pinsage.errors import SourceError
from pinsage.store import Facts, file_digest

PART = "interactions.parquet"
_COUNTS = (
    "num_read",
    "num_interactions",
    "num_below_min_weight",
    "num_unreadable_timestamps",
    "num_unreadable_weights",
)
_TYPES: dict[str, pa.DataType] = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "timestamp": pa.int64(),
    "weight": pa.float32(),
}
_SCHEMA = pa.schema(_TYPES)


@dataclass(frozen=True)
class Part:
    """Landed interactions: their file, the digest of its content, and what was found."""

    file: Path
    digest: str
    facts: Facts


PartOf = Callable[[FileTable], Part]


def schema_with(user: pa.DataType, item: pa.DataType) -> pa.Schema:
    """The schema of landed interactions whose ids are of these types."""
    return _SCHEMA.set(0, pa.field("user_id", user)).set(1, pa.field("item_id", item))


def write_part(config: InteractionsConfig, table: Table, out: Path) -> Facts:
    """Write the rows of `table` to `interactions.parquet` below `out`, which may have none.

    Returns num_read, num_interactions, num_below_min_weight, num_unreadable_timestamps,
    num_unreadable_weights, and user_type and item_type: `int64`, `string`, or None without an id.
    Raises SourceError where the table is unreadable or lacks a column.
    """
    return _Landing(config, table).write(out)


def part_in(config: InteractionsConfig, folder: Path) -> PartOf:
    """Land parts below `folder`, for whoever has no store to keep them."""

    def land_one(table: FileTable) -> Part:
        out = Path(tempfile.mkdtemp(dir=folder))
        facts = write_part(config, table, out)
        return Part(out / PART, file_digest(out / PART), facts)

    return land_one


def counts_of(parts: Sequence[Part], where: str, config: InteractionsConfig) -> Facts:
    """The counts of all parts together. Raises SourceError where they hold no row, or keep none."""
    counts = {name: sum(int(part.facts[name]) for part in parts) for name in _COUNTS}
    if not counts.pop("num_read"):
        raise SourceError(f"{where}: holds no row; expected at least one")
    if not counts["num_interactions"]:
        raise SourceError(
            f"{where}: all {counts['num_below_min_weight']:,} interactions have a "
            f"{config.weight_column!r} below min_weight = {config.min_weight}; lower it"
        )
    return counts


def merge(parts: Sequence[Part], schema: pa.Schema, file: Path) -> list[list[object]]:
    """Write the parts one after the other, each in row groups of its own.

    Returns for each [digest, number of row groups].
    """
    placed: list[list[object]] = []
    with pq.ParquetWriter(file, schema) as writer:
        for part in parts:
            source = pq.ParquetFile(part.file, pre_buffer=False)
            for group in range(source.num_row_groups):
                writer.write_table(source.read_row_group(group).cast(schema))
            placed.append([part.digest, source.num_row_groups])
    return placed


class _Landing:
    def __init__(self, config: InteractionsConfig, table: Table) -> None:
        self.config = config
        self.table = table
        column = config.user_column
        self.contexts = (column,) if isinstance(column, str) else column
        self.user = key_of(table, ", ".join(self.contexts))
        self.item = key_of(table, config.item_column)
        self.num_light = self.num_untimed = self.num_unweighted = 0

    def write(self, out: Path) -> Facts:
        config = self.config
        columns = [*self.contexts, config.item_column, config.timestamp_column]
        if config.weight_column is not None:
            columns.append(config.weight_column)
        text = out / ".text.parquet"
        num_read, kept = land(self.table, columns, self._convert, lambda _: _SCHEMA, text)
        schema = schema_with(self.user.type, self.item.type)
        if num_read:
            retype(text, schema, out / PART)
            text.unlink(missing_ok=True)
        else:
            pq.write_table(schema.empty_table(), out / PART)
        found = (num_read, kept, self.num_light, self.num_untimed, self.num_unweighted)
        types = {"user_type": _seen(self.user), "item_type": _seen(self.item)}
        return {**dict(zip(_COUNTS, found, strict=True)), **types}

    def _convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch, weight = self._weigh(batch)
        times = to_micros(
            batch.column(self.config.timestamp_column),
            unit=self.config.timestamp_unit,
            timezone=self.config.timezone,
            where=named(self.table, self.config.timestamp_column),
        )
        self.num_untimed += times.null_count
        self.num_unweighted += weight.null_count
        users = self.user.land(self._context(batch))
        items = self.item.land(batch.column(self.config.item_column))
        return pa.RecordBatch.from_arrays([users, items, times, weight], schema=_SCHEMA)

    def _context(self, batch: pa.RecordBatch) -> Column:
        """The column of the user, or several as one text; null where one of them has no value."""
        if len(self.contexts) == 1:
            return batch.column(self.contexts[0])
        parts = []
        for name in self.contexts:
            text = key_of(self.table, name, infer=False).land(batch.column(name))
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
            # "a/b" with "c" is another context than "a" with "b/c".
            escaped = pc.replace_substring(text, "\\", "\\\\")
            parts.append(pc.replace_substring(escaped, "/", "\\/"))
        return pc.binary_join_element_wise(*parts, "/")

    def _weigh(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Column]:
        """The rows that are not below `min_weight`, and their weights, null where not finite."""
        config = self.config
        if config.weight_column is None:
            return batch, pa.array(np.ones(batch.num_rows, dtype=np.float32))
        where = named(self.table, config.weight_column)
        weight = to_numbers(batch.column(config.weight_column), where)
        if config.min_weight is not None:
            light = pc.fill_null(pc.less(weight, config.min_weight), False)
            self.num_light += pc.sum(light).as_py() or 0
            batch, weight = batch.filter(pc.invert(light)), weight.filter(pc.invert(light))
        small = weight.cast(pa.float32(), safe=False)
        return batch, pc.if_else(pc.is_finite(small), small, pa.scalar(None, pa.float32()))


def _seen(key: Key) -> str | None:
    return str(key.type) if key.seen else None
