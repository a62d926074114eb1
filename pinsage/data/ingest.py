"""From a snapshot to numbered, deduplicated interactions; what is unusable goes to quarantine.

Rows are sorted by (timestamp, user_id, item_id) before they are numbered, so the order of the
source changes no byte, and later interactions never change an earlier user's number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import DataConfig
from pinsage.data.arrow import Column, pc
from pinsage.data.times import iso
from pinsage.errors import SourceError
from pinsage.store import Facts

Duplicates = Literal["exact", "first", "keep"]
Int64 = npt.NDArray[np.int64]
Float32 = npt.NDArray[np.float32]

# In the order of their precedence: a row has one reason, the first that holds.
REASONS = (
    "missing user id",
    "missing item id",
    "unreadable timestamp",
    "unreadable weight",
    "item not in the catalog",
)
_ROW_GROUP = 1 << 20
_NO_CATALOG = {"num_duplicate_items": 0, "num_items_without_id": 0}


@dataclass(frozen=True)
class _Ids:
    """The distinct ids of a column in sorted order, and each row's place among them (−1: null)."""

    values: Column
    ranks: Int64


@dataclass(frozen=True)
class _Rows:
    """Interactions as four arrays of one length; `user` and `item` are ranks of ids."""

    time: Int64
    user: Int64
    item: Int64
    weight: Float32

    def take(self, rows: Int64) -> _Rows:
        """The rows at these positions."""
        return _Rows(self.time[rows], self.user[rows], self.item[rows], self.weight[rows])

    def pair(self) -> Int64:
        """A number a (user, item), ordered like both."""
        return self.user * (int(self.item.max()) + 1) + self.item


def write_ingested(snapshot: Path, data: DataConfig, out: Path) -> Facts:
    """Write interactions, users, items and quarantine below `out`.

    Returns num_interactions, num_users, num_items, num_quarantined, quarantined_by_reason,
    num_duplicates, num_duplicate_items, num_items_without_id, first_time and last_time (ISO).
    Raises SourceError where no usable interaction, or no item with an id, is left.
    """
    table = pq.read_table(snapshot / "interactions.parquet")
    users, items = _ranked(table["user_id"]), _ranked(table["item_id"])
    catalog, facts = _catalog(snapshot) if data.items is not None else (None, _NO_CATALOG)
    reasons = _reasons(table, users, items, catalog)
    quarantined = _write_quarantine(table, reasons, out / "quarantine.parquet")
    rows = _good_rows(table, users, items, reasons)
    if not len(rows.time):
        raise SourceError(_nothing_left(len(table), quarantined))
    del table, reasons
    num_usable = len(rows.time)
    rows = _deduplicated(rows.take(_order(rows)), data.interactions.duplicates)
    user_row, user_ids = _by_appearance(rows.user, users.values)
    if catalog is None:
        item_row, item_ids = _by_appearance(rows.item, items.values)
        catalog = pa.table({"item_id": item_ids, "title": item_ids.cast(pa.string())})
    else:
        item_row = _rows_in(catalog, items.values)[rows.item]
    _write(_numbered(rows, user_row, item_row), out / "interactions.parquet")
    _write(pa.table({"user_id": user_ids}), out / "users.parquet")
    _write(catalog, out / "items.parquet")
    return {
        "num_interactions": len(rows.time),
        "num_users": len(user_ids),
        "num_items": len(catalog),
        "num_quarantined": sum(quarantined.values()),
        "quarantined_by_reason": quarantined,
        "num_duplicates": num_usable - len(rows.time),
        **facts,
        "first_time": iso(int(rows.time[0])),
        "last_time": iso(int(rows.time[-1])),
    }


def _ranked(column: Column) -> _Ids:
    """Rank by value: integers by size, strings by their bytes. An empty string is no id."""
    if pa.types.is_string(column.type):
        empty = pc.equal(column, "")
        column = pc.if_else(empty, pa.scalar(None, pa.string()), column)
    encoded = column.combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary)
    rank_of = np.full(len(order) + 1, -1, dtype=np.int64)  # the last entry answers for null
    rank_of[order.to_numpy()] = np.arange(len(order))
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
    return _Ids(encoded.dictionary.take(order), rank_of[codes])


def _catalog(snapshot: Path) -> tuple[pa.Table, dict[str, int]]:
    """The catalog with one row an id: the place of its first row, the content of its last."""
    table = pq.read_table(snapshot / "items.parquet").combine_chunks()
    ranks = _ranked(table["item_id"]).ranks
    named = np.flatnonzero(ranks >= 0)
    if not len(named):
        raise SourceError(
            f"the catalog has {len(table):,} rows and none with an id; check data.items.item_column"
        )
    codes, _ = pd.factorize(ranks[named])
    last = np.empty(codes.max() + 1, dtype=np.int64)
    last[codes] = named  # numpy keeps the last of repeated assignments
    counts = {
        "num_duplicate_items": len(named) - len(last),
        "num_items_without_id": len(table) - len(named),
    }
    return table.take(last), counts


def _rows_in(catalog: pa.Table, values: Column) -> Int64:
    """Row of each id of `values` in the catalog, −1 where it is not there."""
    rows = pc.index_in(values, value_set=catalog["item_id"].combine_chunks())
    return np.asarray(pc.fill_null(rows, -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _reasons(
    table: pa.Table, users: _Ids, items: _Ids, catalog: pa.Table | None
) -> npt.NDArray[np.int8]:
    """Index into REASONS for every row, `len(REASONS)` for a good one."""
    checks = [
        users.ranks < 0,
        items.ranks < 0,
        pc.is_null(table["timestamp"]).to_numpy(),
        pc.is_null(table["weight"]).to_numpy(),
    ]
    if catalog is not None:
        # The appended −1 answers for a null id, whose rank is −1.
        checks.append(np.append(_rows_in(catalog, items.values), -1)[items.ranks] < 0)
    reasons = np.full(len(table), len(REASONS), dtype=np.int8)
    for reason in reversed(range(len(checks))):
        reasons[checks[reason]] = reason
    return reasons


def _write_quarantine(table: pa.Table, reasons: npt.NDArray[np.int8], file: Path) -> dict[str, int]:
    """Write the bad rows with their reasons, in an order of their own; returns the counts."""
    bad = np.flatnonzero(reasons < len(REASONS))
    rows: Any = table.take(bad)
    names = pa.array(REASONS).take(reasons[bad])
    quarantine = pa.table(
        {
            "user_id": rows["user_id"].cast(pa.string()),
            "item_id": rows["item_id"].cast(pa.string()),
            "timestamp": rows["timestamp"],
            "reason": names,
        }
    )
    keys = ["reason", "timestamp", "user_id", "item_id"]
    _write(quarantine.sort_by([(key, "ascending") for key in keys]), file)
    counts = np.bincount(reasons[bad], minlength=len(REASONS)).tolist()
    return {name: count for name, count in zip(REASONS, counts, strict=True) if count}


def _good_rows(table: pa.Table, users: _Ids, items: _Ids, reasons: npt.NDArray[np.int8]) -> _Rows:
    good = np.flatnonzero(reasons == len(REASONS))
    return _Rows(
        pc.fill_null(table["timestamp"], 0).to_numpy()[good],
        users.ranks[good],
        items.ranks[good],
        pc.fill_null(table["weight"], 0.0).to_numpy()[good],
    )


def _order(rows: _Rows) -> Int64:
    """By (timestamp, user_id, item_id), the largest weight first: a total order."""
    return np.lexsort((-rows.weight, rows.pair(), rows.time))


def _deduplicated(rows: _Rows, rule: Duplicates) -> _Rows:
    """The sorted rows without those that repeat another.

    Of rows with the same user, item and time the first stays, which is the one of most weight.
    """
    if rule == "keep":
        return rows
    pair = rows.pair()
    repeats = np.zeros(len(pair), dtype=bool)
    repeats[1:] = (rows.time[1:] == rows.time[:-1]) & (pair[1:] == pair[:-1])
    distinct = np.flatnonzero(~repeats)
    if rule == "first":
        again = pd.Series(pair[distinct]).duplicated().to_numpy()
        distinct = distinct[~again]
    return rows.take(distinct)


def _by_appearance(ranks: Int64, values: Column) -> tuple[Int64, Column]:
    """Number ids in the order in which they first appear; returns rows and the ids by row."""
    rows, appeared = pd.factorize(ranks)
    return rows, values.take(appeared)


def _numbered(rows: _Rows, user_row: Int64, item_row: Int64) -> pa.Table:
    return pa.table(
        {
            "user_row": pa.array(user_row.astype(np.int32)),
            "item_row": pa.array(item_row.astype(np.int32)),
            "timestamp": pa.array(rows.time),
            "weight": pa.array(rows.weight),
        }
    )


def _write(table: pa.Table, file: Path) -> None:
    # Chunks come from how the source was read; without them equal rows give equal bytes.
    pq.write_table(table.combine_chunks(), file, row_group_size=_ROW_GROUP)


def _nothing_left(num_rows: int, quarantined: dict[str, int]) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in quarantined.items())
    return (
        f"no usable interaction is left: all {num_rows:,} were quarantined ({counts}); check the "
        f"columns and the timestamp_unit of the configuration"
    )
