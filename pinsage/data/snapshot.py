"""Land both sources once as canonical Parquet, so that every later stage sees the same rows.

Each source is read exactly once, batch by batch: its size does not bound the memory, and a source
that changes meanwhile is not seen in two states. Ids land as text and get their type at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import DataConfig, FeatureKind, InteractionsConfig, ItemsConfig
from pinsage.data.arrow import Column, pc
from pinsage.data.columns import Key, land_feature, landing_type, to_numbers
from pinsage.data.sources import open_table, source_digest
from pinsage.data.tables import Table
from pinsage.data.times import to_micros
from pinsage.errors import ConfigError, SourceError
from pinsage.store import Facts

_TYPES: dict[str, pa.DataType] = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "timestamp": pa.int64(),
    "weight": pa.float32(),
}
_INTERACTIONS = pa.schema(_TYPES)


def source_digests(data: DataConfig) -> dict[str, str]:
    """Digest of the content of each source, a fresh token for SQL. Raises SourceError."""
    digests = {"interactions": source_digest(data.interactions)}
    if data.items is not None:
        digests["items"] = source_digest(data.items)
    return digests


def write_snapshot(data: DataConfig, out: Path) -> Facts:
    """Write `interactions.parquet` and, with a catalog, `items.parquet` below `out`.

    Returns num_interactions, num_items, num_below_min_weight, num_unreadable_timestamps,
    num_unreadable_weights, and the columns of each table with their types.
    Raises SourceError where a source is missing, unreadable, empty or lacks a column.
    """
    with tempfile.TemporaryDirectory(prefix=".landing-", dir=out) as folder:
        landing = Path(folder)
        interactions = _Interactions(data.interactions)
        items = _Items(data.items) if data.items is not None else None
        facts = interactions.land(landing / "interactions.parquet")
        num_items = items.land(landing / "items.parquet") if items is not None else 0
        # One id type for both tables: 7 and "7" would not find each other.
        keys = [interactions.item, *([items.item] if items is not None else [])]
        seen = [key.type for key in keys if key.seen]
        item_type = seen[0] if seen and all(kind == seen[0] for kind in seen) else pa.string()
        schemas = {"interactions": interactions.final(item_type)}
        if items is not None:
            schemas["items"] = items.final(item_type)
        for name, schema in schemas.items():
            _retype(landing / f"{name}.parquet", schema, out / f"{name}.parquet")
    columns = {
        name: {column.name: str(column.type) for column in schema}
        for name, schema in schemas.items()
    }
    return {**facts, "num_items": num_items, "columns": columns}


class _Interactions:
    def __init__(self, config: InteractionsConfig) -> None:
        self.config = config
        self.table = open_table(config)
        self.user = _key(self.table, config.user_column)
        self.item = _key(self.table, config.item_column)
        self.num_light = self.num_untimed = self.num_unweighted = 0

    def land(self, file: Path) -> Facts:
        """Write the rows with ids as text; returns the counts."""
        config = self.config
        columns = [config.user_column, config.item_column, config.timestamp_column]
        if config.weight_column is not None:
            columns.append(config.weight_column)
        kept = _land(self.table, columns, self._convert, lambda _: _INTERACTIONS, file)
        if not kept:
            raise SourceError(
                f"{self.table.where}: all {self.num_light:,} interactions have a "
                f"{config.weight_column!r} below min_weight = {config.min_weight}; lower it"
            )
        return {
            "num_interactions": kept,
            "num_below_min_weight": self.num_light,
            "num_unreadable_timestamps": self.num_untimed,
            "num_unreadable_weights": self.num_unweighted,
        }

    def final(self, item_type: pa.DataType) -> pa.Schema:
        """The schema of the snapshot, once all rows have been seen."""
        return _INTERACTIONS.set(0, pa.field("user_id", self.user.type)).set(
            1, pa.field("item_id", item_type)
        )

    def _convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        batch, weight = self._weigh(batch)
        times = to_micros(
            batch.column(self.config.timestamp_column),
            unit=self.config.timestamp_unit,
            timezone=self.config.timezone,
            where=_named(self.table, self.config.timestamp_column),
        )
        self.num_untimed += times.null_count
        self.num_unweighted += weight.null_count
        users = self.user.land(batch.column(self.config.user_column))
        items = self.item.land(batch.column(self.config.item_column))
        return pa.RecordBatch.from_arrays([users, items, times, weight], schema=_INTERACTIONS)

    def _weigh(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Column]:
        """The rows that are not below `min_weight`, and their weights, null where not finite."""
        config = self.config
        if config.weight_column is None:
            return batch, pa.array(np.ones(batch.num_rows, dtype=np.float32))
        where = _named(self.table, config.weight_column)
        weight = to_numbers(batch.column(config.weight_column), where)
        if config.min_weight is not None:
            light = pc.fill_null(pc.less(weight, config.min_weight), False)
            self.num_light += pc.sum(light).as_py() or 0
            batch, weight = batch.filter(pc.invert(light)), weight.filter(pc.invert(light))
        small = weight.cast(pa.float32(), safe=False)
        return batch, pc.if_else(pc.is_finite(small), small, pa.scalar(None, pa.float32()))


class _Items:
    def __init__(self, config: ItemsConfig) -> None:
        self.config = config
        self.table = open_table(config)
        self.item = _key(self.table, config.item_column)
        self.categories = {
            name: _key(self.table, name, infer=False)
            for name, kind in config.features.items()
            if kind == "categorical"
        }
        self.features = dict(config.features)
        self.schema = pa.schema([])
        _refuse_collisions(config)
        if config.title_column == "title":
            self.features.pop("title", None)  # the title is the feature
            self.categories.pop("title", None)

    def land(self, file: Path) -> int:
        """Write the rows with ids and categories as text; returns how many."""
        config = self.config
        named = (config.title_column, config.image_column)
        columns = [config.item_column, *config.features, *(name for name in named if name)]
        return _land(self.table, list(dict.fromkeys(columns)), self._convert, self._schema, file)

    def final(self, item_type: pa.DataType) -> pa.Schema:
        """The schema of the snapshot, once all rows have been seen."""
        types = {"item_id": item_type, **{n: key.type for n, key in self.categories.items()}}
        return pa.schema([pa.field(f.name, types.get(f.name, f.type)) for f in self.schema])

    def _schema(self, batch: pa.RecordBatch) -> pa.Schema:
        if not self.schema.names:
            types = {
                name: landing_type(kind, batch.schema.field(name).type)
                for name, kind in self.features.items()
            }
            images = {"image": pa.string()} if self.config.image_column is not None else {}
            types = {"item_id": pa.string(), "title": pa.string(), **images, **types}
            self.schema = pa.schema([pa.field(name, kind) for name, kind in types.items()])
        return self.schema

    def _convert(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        ids = self.item.land(batch.column(self.config.item_column))
        own = [ids, pc.coalesce(self._text(batch, self.config.title_column), ids)]
        if self.config.image_column is not None:
            own.append(self._text(batch, self.config.image_column))
        features = [self._feature(batch, name, kind) for name, kind in self.features.items()]
        return pa.RecordBatch.from_arrays([*own, *features], schema=self._schema(batch))

    def _text(self, batch: pa.RecordBatch, column: str | None) -> Column:
        """A column as text, null where it is empty or not configured."""
        if column is None:
            return pa.nulls(batch.num_rows, pa.string())
        text = land_feature(batch.column(column), "text", _named(self.table, column))
        present = pc.fill_null(pc.not_equal(text, ""), False)
        return pc.if_else(present, text, pa.scalar(None, pa.string()))

    def _feature(self, batch: pa.RecordBatch, name: str, kind: FeatureKind) -> Column:
        if kind == "categorical":
            return self.categories[name].land(batch.column(name))
        landed = land_feature(batch.column(name), kind, _named(self.table, name))
        expected = self._schema(batch).field(name).type
        if landed.type != expected:
            raise SourceError(
                f"{_named(self.table, name)}: is {expected} in one part of the data and "
                f"{landed.type} in another; make it the same everywhere"
            )
        return landed


def _refuse_collisions(config: ItemsConfig) -> None:
    """The snapshot's own columns are item_id, title and image; no feature may overwrite them."""
    if "item_id" in config.features:
        raise ConfigError(
            "data.items.features: item_id is the id, not a feature; set model.id_embedding to "
            "learn a vector an item, or rename the column"
        )
    if config.image_column is not None and "image" in config.features:
        raise ConfigError(
            f"data.items.features: with image_column = {config.image_column!r} the column image "
            f"holds the addresses of images, so no feature may be called image; rename the feature"
        )
    kind = config.features.get("title")
    same = config.title_column == "title" and kind in ("text", "categorical")
    if kind is not None and not same:
        raise ConfigError(
            f"data.items.features: a feature called title must be the title_column as well, of "
            f"kind text or categorical (got title_column = {config.title_column!r}, kind "
            f"{kind!r}); rename the column"
        )


def _land(
    table: Table,
    columns: list[str],
    convert: Callable[[pa.RecordBatch], pa.RecordBatch],
    schema_of: Callable[[pa.RecordBatch], pa.Schema],
    file: Path,
) -> int:
    """Convert and write batch by batch; returns the number of rows written."""
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
    if not num_read:
        raise SourceError(f"{table.where}: holds no row; expected at least one")
    return num_written


def _retype(landed: Path, schema: pa.Schema, file: Path) -> None:
    """Give the key columns their final type."""
    # With pre_buffer, row groups that have been read are held until the end of the file.
    source = pq.ParquetFile(landed, pre_buffer=False)
    if source.schema_arrow.equals(schema):
        landed.rename(file)
        return
    with pq.ParquetWriter(file, schema) as writer:
        for batch in source.iter_batches():
            writer.write_batch(batch.cast(schema))


def _key(table: Table, column: str, *, infer: bool = True) -> Key:
    return Key(_named(table, column), infer=infer and not table.typed)


def _named(table: Table, column: str) -> str:
    return f"{table.where}: column {column!r}"
