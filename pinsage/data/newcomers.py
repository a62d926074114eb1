"""Tables of items that the catalog has not: Parquet, CSV or JSON lines, or a table in memory.

Cells land as they do in a snapshot, so that the model reads a new item as it would read the same
item in the catalog. A column that is absent is a catalog of missing values, which is said and not
refused: that little is known of a new item is what makes it new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import FeatureKind
from pinsage.data.arrow import Column, pc
from pinsage.data.columns import Key, land_feature, landing_type
from pinsage.data.csv_table import CsvTable
from pinsage.data.json_lines import read_json_lines
from pinsage.data.tables import did_you_mean, listing
from pinsage.errors import SourceError

ITEM_ID, TITLE, USER_IDS = "item_id", "title", "user_ids"

_PARQUET = (".parquet", ".parq", ".pq")
_COMMAS, _TABS = (".csv", ".csv.gz"), (".tsv", ".tsv.gz")
_JSON = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class NewItems:
    """M new items.

    Attributes:
        items: item_id, title (the id, where there is none) and every feature column, M rows
        users: ids as text of the users of each item, distinct; empty for an item without
        absent: features that the table has no column for
        ignored: columns of the table that mean nothing here
    """

    items: pd.DataFrame
    users: tuple[tuple[str, ...], ...]
    absent: tuple[str, ...]
    ignored: tuple[str, ...]


def read_new_items(
    file: Path, kinds: Mapping[str, FeatureKind], *, separator: str = "|"
) -> NewItems:
    """The items of a file with the column item_id; `kinds` are the model's feature columns.

    The column user_ids, if there is one, holds lists or text with `separator` between the ids.
    Raises SourceError where the file or a column cannot be read, or an id is missing or repeated.
    """
    table, typed = _read(file)
    if ITEM_ID not in table.column_names:
        raise SourceError(
            f"{file}: has no column {ITEM_ID!r}{did_you_mean(ITEM_ID, table.column_names)} (it has "
            f"{listing(table.column_names)}); new items need an id each"
        )
    if not len(table):
        raise SourceError(f"{file}: holds no row; expected one a new item")
    new = land_new_items(table, kinds, separator=separator, where=str(file), infer=not typed)
    _check_ids(file, new.items[ITEM_ID])
    return new


def land_new_items(
    table: pa.Table,
    kinds: Mapping[str, FeatureKind],
    *,
    separator: str,
    where: str,
    infer: bool = False,
) -> NewItems:
    """The items of a table in memory, in which an id may be missing; an empty one is.

    `infer` takes ids that are text for integers where they read the same, as from CSV.
    Raises SourceError naming `where` and the column that cannot be read as its kind.
    """
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    key = Key(f"{where}: column {ITEM_ID!r}", infer=infer)
    absent = pa.nulls(len(table))
    ids = _filled(key.land(columns.get(ITEM_ID, absent)))
    titles = _filled(_land(columns.get(TITLE, absent), "text", where, TITLE))
    landed = {ITEM_ID: ids.cast(key.type), TITLE: pc.coalesce(titles, ids)}
    for name, kind in kinds.items():
        if name != TITLE:  # a feature called title is the title
            landed[name] = _land(columns.get(name, absent), kind, where, name)
    return NewItems(
        items=pa.table(landed).to_pandas(),
        users=_users(columns.get(USER_IDS, absent), separator, where),
        absent=tuple(name for name in kinds if name not in columns),
        ignored=tuple(name for name in columns if name not in {*kinds, ITEM_ID, TITLE, USER_IDS}),
    )


def _read(file: Path) -> tuple[pa.Table, bool]:
    """The table, and whether its columns have types of their own."""
    name = file.name.lower()
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "no such file"
        raise SourceError(f"{file}: {found}; expected a file of new items")
    if name.endswith(_PARQUET):
        return _unambiguous(file, _read_parquet(file)), True
    if name.endswith(_COMMAS + _TABS):
        csv = CsvTable((file,), file.parent, "\t" if name.endswith(_TABS) else ",")
        header = csv.header(file)
        schema = pa.schema([(column, pa.string()) for column in header])
        return pa.Table.from_batches(list(csv.batches(header)), schema), False
    if name.endswith(_JSON):
        return read_json_lines(file), True
    raise SourceError(
        f"{file}: its ending tells no format; expected one of "
        f"{', '.join(_PARQUET + _COMMAS + _TABS + _JSON)}"
    )


def _read_parquet(file: Path) -> pa.Table:
    try:
        with pq.ParquetFile(file) as source:
            return source.read()
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise SourceError(f"{file}: cannot be read as Parquet ({reason}); write it again") from None


def _unambiguous(file: Path, table: pa.Table) -> pa.Table:
    names = table.column_names
    for name in names:
        if names.count(name) > 1:
            raise SourceError(
                f"{file}: has {names.count(name)} columns called {name!r}; rename all but one"
            )
    return table


def _land(column: Column, kind: FeatureKind, where: str, name: str) -> Column:
    named = f"{where}: column {name!r}"
    if kind == "categorical":
        return Key(named, infer=False).land(column)
    return land_feature(column, kind, named).cast(landing_type(kind, column.type))


def _filled(text: Column) -> Column:
    """Text with null for what is empty."""
    present = pc.fill_null(pc.not_equal(text, ""), False)
    return pc.if_else(present, text, pa.scalar(None, pa.string()))


def _users(column: Column, separator: str, where: str) -> tuple[tuple[str, ...], ...]:
    named = f"{where}: column {USER_IDS!r}"
    return tuple(_ids(cell, separator, named) for cell in column.to_pylist())


def _ids(cell: Any, separator: str, named: str) -> tuple[str, ...]:
    parts = cell.split(separator) if isinstance(cell, str) else cell
    parts = parts if isinstance(parts, list) else [parts]
    texts = (_id_text(part, named) for part in parts if part is not None)
    return tuple(dict.fromkeys(text for text in texts if text))


def _id_text(value: Any, named: str) -> str:
    if isinstance(value, float):  # as pandas stores integers beside a missing one
        if isnan(value):
            return ""
        value = int(value) if value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise SourceError(
            f"{named}: holds {type(value).__name__}; expected a list of ids, which are integers or "
            f"text, or such a list as text"
        )
    return str(value).strip()


def _check_ids(file: Path, ids: pd.Series) -> None:
    missing = ids.isna().to_numpy().nonzero()[0]
    if len(missing):
        raise SourceError(
            f"{file}: column {ITEM_ID!r} is empty in {len(missing):,} of {len(ids):,} rows (first "
            f"in row {missing[0] + 1:,}); give each new item an id"
        )
    again = ids[ids.duplicated()]
    if len(again):
        raise SourceError(
            f"{file}: column {ITEM_ID!r} holds {again.iloc[0]!r} {(ids == again.iloc[0]).sum()} "
            f"times; give each new item one row"
        )
