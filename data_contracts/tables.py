"""What the contracts look at: a snapshot and embeddings, as frames of just the columns needed.

A frame holds only what Great Expectations compares with vectorised code: int64, float64, bool and
Arrow strings. Facts that are not a comparison of one value (is this item in the catalog, is this
row a repeat) are computed here as columns, so that the suites stay declarative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import ContractConfig, FeatureKind
from pinsage.data.arrow import Column, pc

INTERACTION_COLUMNS = ("user_id", "item_id", "timestamp", "weight")
ITEM_COLUMNS = ("item_id", "title")


# The type hints of pyarrow and pandas are narrower than what they do: these pass unchecked.
ArrowType = Any  # pa.DataType
Series = Any  # pd.Series


@dataclass(frozen=True)
class Table:
    """A frame under its name.

    `identity` are the columns by which a person finds a row. Where `facts` is set, the frame has
    one row, of facts about a whole table.
    """

    name: str
    frame: pd.DataFrame
    identity: tuple[str, ...] = ()
    facts: bool = False


def read_schema(name: str, path: Path) -> Table:
    """One row: the kind of each column of a Parquet file, e.g. `integer` or `list of float`."""
    schema = pq.read_schema(path)
    kinds = {field.name: [kind_of(field.type)] for field in schema}
    return Table(name, pd.DataFrame(kinds), facts=True)


def kind_of(kind: ArrowType) -> str:
    """An Arrow type in words: width, encoding and list layout make no difference."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if _is_list(kind):
        return f"list of {kind_of(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "string"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "float"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "timestamp"
    if pa.types.is_integer(kind):
        return "integer"
    return "boolean" if pa.types.is_boolean(kind) else str(kind)


def read_interactions(path: Path, catalog: Path | None, sound: frozenset[str]) -> Table:
    """The `sound` columns of the interactions, with `known_item` and `repeat` (both bool).

    `timestamp` is int64 µs (float64 where some are null), `weight` float64. A row without an item
    id counts as known, and one without any of its keys is no repeat: they are breaches of their
    own.
    """
    keys = [name for name in INTERACTION_COLUMNS[:3] if name in sound]
    table = pq.read_table(path, columns=[n for n in INTERACTION_COLUMNS if n in sound])
    columns = {name: _plain(_named(table[name])) for name in table.column_names}
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)))
    if catalog is not None and "item_id" in sound:
        known = pq.read_table(catalog, columns=["item_id"])["item_id"]
        frame["known_item"] = _is_in(_named(table["item_id"]), known)
    if len(keys) == 3:
        frame["repeat"] = frame.duplicated(keys) & frame[keys].notna().all(axis=1)
    return Table("interactions", frame, tuple(keys))


def read_items(path: Path, features: Mapping[str, FeatureKind], sound: frozenset[str]) -> Table:
    """The `sound` columns of the catalog, with `conflict` (bool): other content under the same id.

    Multicategorical lists are joined. An embedding becomes a digest of its values (to compare),
    `<name> length` and `<name> not finite` (counts, float64). Blank strings count as missing.
    """
    wanted = [name for name in dict.fromkeys((*ITEM_COLUMNS, *features)) if name in sound]
    table = pq.read_table(path, columns=wanted)
    columns: dict[str, Series] = {}
    for name in wanted:
        if features.get(name) == "embedding":
            columns |= _embedding_columns(name, table[name])
        elif name == "item_id":
            columns[name] = _plain(_named(table[name]))
        else:
            columns[name] = _plain(_filled(table[name]))
    frame = pd.DataFrame(columns, index=pd.RangeIndex(len(table)))
    if "item_id" in sound:
        frame["conflict"] = _conflicts(frame)
    return Table("items", frame, tuple(name for name in ITEM_COLUMNS if name in sound))


def newest_timestamp(path: Path) -> int | None:
    """The largest timestamp (µs) of a snapshot's interactions, read in batches."""
    file = pq.ParquetFile(path)
    field = file.schema_arrow.field("timestamp") if "timestamp" in file.schema_arrow.names else None
    if field is None or not pa.types.is_integer(field.type):
        return None  # the contract on the columns says so
    batches = file.iter_batches(columns=["timestamp"])
    newest = [pc.max(batch.column(0)).as_py() for batch in batches]
    return max((value for value in newest if value is not None), default=None)


def latest_allowed(contract: ContractConfig, now: datetime) -> int:
    """The latest time (µs since 1970, UTC) of an interaction that the contract allows at `now`."""
    return microseconds(now) + int(contract.max_future_days * 86_400e6)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC."""
    return int(moment.timestamp() * 1e6)


def _named(ids: Column) -> Column:
    """Ids with null for an empty string, which is no id (as in ingest)."""
    return pc.if_else(pc.equal(ids, ""), None, ids) if kind_of(ids.type) == "string" else ids


def _filled(column: Column) -> Column:
    """Lists as joined text; null for blank text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if _is_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), "\x1f")
    if kind_of(column.type) != "string":
        return column
    return pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)


def _plain(column: Column) -> Series:
    kind = kind_of(column.type)
    if kind == "float":
        column = column.cast(pa.float64())  # Great Expectations is vectorised for this width only
    if column.null_count and kind == "integer" and _exceeds_float(column):
        return column.cast(pa.int64()).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return column.to_pandas()


def _exceeds_float(column: Column) -> bool:
    # Integers beyond 2**53 would run together as floats, which is how pandas writes missing ones.
    extremes = (pc.min(column).as_py(), pc.max(column).as_py())
    return any(abs(value or 0) > 2**53 for value in extremes)


def _is_list(kind: ArrowType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_in(ids: Column, known: Column) -> Series:
    if ids.type != known.type:
        ids, known = ids.cast(pa.string()), known.cast(pa.string())
    found: Column = pc.or_(pc.is_in(ids, value_set=known), pc.is_null(ids))
    return found.to_pandas()


def _embedding_columns(name: str, column: Column) -> dict[str, Series]:
    vectors = column.combine_chunks()
    lengths = pc.list_value_length(vectors).to_numpy(zero_copy_only=False).astype(np.float64)
    values = pc.list_flatten(vectors).to_numpy(zero_copy_only=False).astype(np.float64)
    owners = pc.list_parent_indices(vectors).to_numpy()
    bad = np.bincount(owners[~np.isfinite(values)], minlength=len(vectors)).astype(np.float64)
    ends = np.cumsum(np.nan_to_num(lengths)).astype(np.int64)
    starts = ends - np.nan_to_num(lengths).astype(np.int64)
    digests = [hash(values[a:b].tobytes()) for a, b in zip(starts, ends, strict=True)]
    missing = np.isnan(lengths) | (lengths == 0)
    return {
        name: pd.Series(digests, dtype="int64").astype("Int64").mask(missing),
        f"{name} length": pd.Series(lengths).mask(missing),
        f"{name} not finite": pd.Series(bad),
    }


def _conflicts(frame: pd.DataFrame) -> Series:
    repeated = frame[frame["item_id"].notna() & frame.duplicated("item_id", keep=False)]
    versions = repeated.drop_duplicates()
    ids = versions.loc[versions.duplicated("item_id", keep=False), "item_id"]
    return frame["item_id"].isin(ids)
