"""Land both sources once as canonical Parquet, so that every later stage sees the same rows.

Each source is read exactly once, batch by batch: its size does not bound the memory, and a source
that changes meanwhile is not seen in two states. Ids land as text and get their type at the end.
Of a folder, each file of interactions is a part of its own, which a store may have already.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa

from pinsage.config import DataConfig, FeatureKind, ItemsConfig
from pinsage.data.arrow import Column, pc
from pinsage.data.columns import land_feature, landing_type
from pinsage.data.interactions import (
    PART,
    Part,
    PartOf,
    counts_of,
    merge,
    part_in,
    schema_with,
    write_part,
)
from pinsage.data.landing import common_type, key_of, land, named, retype
from pinsage.data.sources import Found, find, open_files, open_table
from pinsage.errors import ConfigError, SourceError
from pinsage.store import Facts


def find_sources(data: DataConfig, memory: Path | None = None) -> dict[str, Found]:
    """What each source holds, by digests. Raises SourceError.

    Files that did not change since they were found with the same `memory` are not opened.
    """
    found = {"interactions": find(data.interactions, memory)}
    if data.items is not None:
        found["items"] = find(data.items, memory)
    return found


def write_snapshot(data: DataConfig, out: Path, part_of: PartOf | None = None) -> Facts:
    """Write `interactions.parquet` and, with a catalog, `items.parquet` below `out`.

    `part_of` finds or lands the interactions of one file of a folder. Returns num_interactions,
    num_items, num_below_min_weight, num_unreadable_timestamps, num_unreadable_weights, the columns
    of each table with their types, and of a folder its parts: [digest, number of row groups] in
    the order in which they lie in the file. Raises SourceError where a source is missing,
    unreadable, empty or lacks a column.
    """
    with tempfile.TemporaryDirectory(prefix=".landing-", dir=out) as folder:
        landing = Path(folder)
        table, files = open_table(data.interactions), open_files(data.interactions)
        items = _Items(data.items) if data.items is not None else None
        part_of = part_of or part_in(data.interactions, landing)
        parts = [part_of(file) for file in files]
        if not files:
            found = write_part(data.interactions, table, landing)
            parts = [Part(landing / PART, "", found)]
        facts = counts_of(parts, table.where, data.interactions)
        num_items = items.land(landing / "items.parquet") if items is not None else 0
        # One id type for both tables: 7 and "7" would not find each other.
        kinds = [part.facts["item_type"] for part in parts]
        if items is not None and items.item.seen:
            kinds.append(str(items.item.type))
        users, ids = common_type(part.facts["user_type"] for part in parts), common_type(kinds)
        schemas = {"interactions": schema_with(users, ids)}
        if files:
            facts["parts"] = merge(parts, schemas["interactions"], out / "interactions.parquet")
        else:
            retype(parts[0].file, schemas["interactions"], out / "interactions.parquet")
        if items is not None:
            schemas["items"] = items.final(ids)
            retype(landing / "items.parquet", schemas["items"], out / "items.parquet")
    columns = {
        name: {column.name: str(column.type) for column in schema}
        for name, schema in schemas.items()
    }
    return {**facts, "num_items": num_items, "columns": columns}


class _Items:
    def __init__(self, config: ItemsConfig) -> None:
        self.config = config
        self.table = open_table(config)
        self.item = key_of(self.table, config.item_column)
        self.categories = {
            name: key_of(self.table, name, infer=False)
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
        num_read, kept = land(self.table, columns, self._convert, self._schema, file)
        if not num_read:
            raise SourceError(f"{self.table.where}: holds no row; expected at least one")
        return kept

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
        text = land_feature(batch.column(column), "text", named(self.table, column))
        present = pc.fill_null(pc.not_equal(text, ""), False)
        return pc.if_else(present, text, pa.scalar(None, pa.string()))

    def _feature(self, batch: pa.RecordBatch, name: str, kind: FeatureKind) -> Column:
        if kind == "categorical":
            return self.categories[name].land(batch.column(name))
        landed = land_feature(batch.column(name), kind, named(self.table, name))
        expected = self._schema(batch).field(name).type
        if landed.type != expected:
            raise SourceError(
                f"{named(self.table, name)}: is {expected} in one part of the data and "
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
