"""The catalog with one row an id: the place of an id's first row, the content of its last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.data.arrow import Column, pc
from pinsage.data.row_groups import row_groups, stored_batches
from pinsage.errors import SourceError

Int64 = npt.NDArray[np.int64]

_ROW_GROUP = 1 << 16  # rows of a catalog are wide: texts and vectors


@dataclass(frozen=True)
class Catalog:
    """The ids by item row, and the rows of the landed catalog where each is first and last."""

    ids: Column
    first: Int64
    last: Int64
    num_rows: int
    num_without_id: int

    @property
    def num_duplicates(self) -> int:
        """Rows that repeat an id."""
        return self.num_rows - self.num_without_id - len(self.first)

    def rows_of(self, ids: Column) -> npt.NDArray[np.int32]:
        """The item row of each id, −1 where it is not in the catalog."""
        rows = pc.index_in(ids, value_set=self.ids)
        return np.asarray(pc.fill_null(rows, -1).to_numpy(zero_copy_only=False), dtype=np.int32)


def read_catalog(file: Path) -> Catalog:
    """Read the ids alone. Raises SourceError where there is none. An empty string is no id."""
    ids = pq.read_table(file, columns=["item_id"])["item_id"].combine_chunks()
    if pa.types.is_string(ids.type):
        ids = pc.if_else(pc.equal(ids, ""), pa.scalar(None, pa.string()), ids)
    named = np.flatnonzero(pc.is_valid(ids).to_numpy(zero_copy_only=False))
    if not len(named):
        raise SourceError(
            f"the catalog has {len(ids):,} rows and none with an id; check data.items.item_column"
        )
    encoded = ids.drop_null().dictionary_encode()  # in the order of their first rows
    codes = encoded.indices.to_numpy()
    first, last = (np.empty(len(encoded.dictionary), dtype=np.int64) for _ in range(2))
    first[codes[::-1]] = named[::-1]  # numpy keeps the last of repeated assignments
    last[codes] = named
    return Catalog(encoded.dictionary, first, last, len(ids), len(ids) - len(named))


def write_catalog(catalog: Catalog, source: Path, file: Path) -> None:
    """Write the catalog's rows, batch by batch; only rows that change their place are held."""
    moved = np.sort(catalog.last[catalog.last != catalog.first])
    held = _collect(source, moved) if len(moved) else None
    with row_groups(file, pq.read_schema(source), _ROW_GROUP) as groups:
        for start, batch in _placed(source):
            bounds = np.searchsorted(catalog.first, [start, start + batch.num_rows])
            wanted = catalog.last[bounds[0] : bounds[1]]
            rows = pa.Table.from_batches([batch])
            places = wanted - start
            if held is not None:
                outside = wanted != catalog.first[bounds[0] : bounds[1]]
                places[outside] = len(rows) + np.searchsorted(moved, wanted[outside])
                rows = pa.concat_tables([rows, held])
            groups.add(rows.take(places))


def _collect(source: Path, wanted: Int64) -> pa.Table:
    found = []
    for start, batch in _placed(source):
        bounds = np.searchsorted(wanted, [start, start + batch.num_rows])
        found.append(batch.take(wanted[bounds[0] : bounds[1]] - start))
    return pa.Table.from_batches(found)


def _placed(source: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The batches of a file, each with the number of rows before it."""
    start = 0
    for batch in stored_batches(source, size=_ROW_GROUP // 4):
        yield start, batch
        start += batch.num_rows
