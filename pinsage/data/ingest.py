"""From a snapshot to numbered, deduplicated interactions; what is unusable goes to quarantine.

Rows are sorted by (timestamp, user_id, item_id) before they are numbered, so the order of the
source changes no byte, and later interactions never change an earlier user's number. That is why
rows which are all later than those of an earlier ingest need only be put behind them. Memory is
bounded by `data.memory_mib`, by a few batches, and by four bytes a distinct id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import DataConfig
from pinsage.data.catalog import Catalog, read_catalog, write_catalog
from pinsage.data.earlier import (
    ORPHAN,
    ChangesThePastError,
    Earlier,
    require_unchanged_past,
)
from pinsage.data.engine import Engine, open_engine, parquet
from pinsage.data.numbering import NUMBERED, Pass, Rows
from pinsage.data.row_groups import stored_batches, write_rows
from pinsage.data.times import iso
from pinsage.errors import SourceError
from pinsage.progress import Listener, Pace
from pinsage.store import Facts

# In the order of their precedence: a row has one reason, the first that holds.
REASONS = (
    "missing user id",
    "missing item id",
    "unreadable timestamp",
    "unreadable weight",
    ORPHAN,
)
_QUARANTINE_TYPES: dict[str, pa.DataType] = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "timestamp": pa.int64(),
    "reason": pa.string(),
}
_QUARANTINE = pa.schema(_QUARANTINE_TYPES)


def write_ingested(
    snapshot: Path,
    data: DataConfig,
    out: Path,
    earlier: Earlier | None = None,
    listener: Listener | None = None,
) -> Facts:
    """Write interactions, users, items and quarantine below `out`; `listener` hears how far it is.

    With an `earlier` ingest only what that had not is read, unless it changes what was numbered;
    the files are the same either way. Returns num_interactions, num_users, num_items,
    num_quarantined, quarantined_by_reason, num_duplicates, num_duplicate_items,
    num_items_without_id, first_time and last_time (ISO), num_read (rows of the snapshot that were
    read), `extends` (key of the earlier ingest, or "") and `full_because` (why there is none).
    Raises SourceError where no usable interaction, or no item with an id, is left, and ConfigError
    where `data.memory_mib` is too little.
    """
    why = ""
    if earlier is not None:
        try:
            return {**_Ingest(snapshot, data, out, earlier, listener).write(), "full_because": ""}
        except ChangesThePastError as error:
            why = str(error)
    return {**_Ingest(snapshot, data, out, None, listener).write(), "full_because": why}


class _Ingest:
    def __init__(
        self,
        snapshot: Path,
        data: DataConfig,
        out: Path,
        earlier: Earlier | None,
        listener: Listener | None,
    ) -> None:
        self.source = snapshot / "interactions.parquet"
        self.items = snapshot / "items.parquet"
        self.data = data
        self.out = out
        self.earlier = earlier
        self.listener = listener
        schema = pq.read_schema(self.source)
        self.types = {name: schema.field(name).type for name in ("user_id", "item_id")}

    def write(self) -> Facts:
        catalog = read_catalog(self.items) if self.data.items is not None else None
        with open_engine(self.out, self.data.memory_mib) as engine:
            self._judge(engine, catalog)
            moved = None
            if self.earlier is not None:
                moved = require_unchanged_past(engine, self.earlier, self.types, catalog)
            quarantined = self._quarantine(engine)
            (num_read,) = engine.one("SELECT count(*) FROM landed")
            facts = self._number(engine, catalog, moved, num_read - sum(quarantined.values()))
        if catalog is not None:
            write_catalog(catalog, self.items, self.out / "items.parquet")
        before = self.earlier.facts if self.earlier is not None else {}
        by_reason = before.get("quarantined_by_reason", {})
        quarantined = {
            name: quarantined.get(name, 0) + by_reason.get(name, 0)
            for name in REASONS
            if name in quarantined or name in by_reason
        }
        if not facts["num_interactions"]:
            raise SourceError(_nothing_left(num_read, quarantined))
        return {
            **facts,
            "num_quarantined": sum(quarantined.values()),
            "quarantined_by_reason": quarantined,
            "num_duplicate_items": catalog.num_duplicates if catalog else 0,
            "num_items_without_id": catalog.num_without_id if catalog else 0,
            "num_read": num_read,
            "extends": self.earlier.key if self.earlier is not None else "",
        }

    def _judge(self, engine: Engine, catalog: Catalog | None) -> None:
        """`judged`: the landed rows to be read, each with the place of its reason in REASONS."""
        if self.earlier is None:
            engine.run(f"CREATE TEMP VIEW landed AS SELECT * FROM {parquet(self.source)}")
        else:
            batches = stored_batches(self.source, self.earlier.new_groups)
            schema = pq.read_schema(self.source)
            engine.table("landed", pa.RecordBatchReader.from_batches(schema, batches))
        unusable = [
            f"NOT ({self._present('user_id')})",
            f"NOT ({self._present('item_id')})",
            "timestamp IS NULL",
            "weight IS NULL",
        ]
        join = ""
        if catalog is not None:
            rows = np.arange(len(catalog.ids), dtype=np.int32)
            engine.table("catalog", pa.table({"id": catalog.ids, "row": pa.array(rows)}))
            unusable.append("c.row IS NULL")
            join = "LEFT JOIN catalog c ON c.id = l.item_id"
        cases = " ".join(f"WHEN {test} THEN {place}" for place, test in enumerate(unusable))
        engine.run(
            f"CREATE TEMP VIEW judged AS SELECT l.*, CASE {cases} END AS reason "
            f"FROM landed l {join}"
        )

    def _present(self, column: str) -> str:
        """An id is there; an empty string is none."""
        empty = f" AND {column} <> ''" if pa.types.is_string(self.types[column]) else ""
        return f"{column} IS NOT NULL{empty}"

    def _quarantine(self, engine: Engine) -> dict[str, int]:
        """Write the bad rows with their reasons, in an order of their own; counts the new ones."""
        engine.run(
            "CREATE TEMP TABLE bad AS SELECT user_id::VARCHAR AS user_id, item_id::VARCHAR AS "
            f"item_id, timestamp, {list(REASONS)}[reason + 1] AS reason "
            "FROM judged WHERE reason IS NOT NULL"
        )
        before = ""
        if self.earlier is not None:
            file = self.earlier.path / "quarantine.parquet"
            before = f"UNION ALL SELECT * FROM {parquet(file)}"
        keys = ", ".join(f"{key} NULLS LAST" for key in ("reason", "timestamp", *self.types))
        rows = engine.batches(f"SELECT * FROM (SELECT * FROM bad {before}) ORDER BY {keys}")
        write_rows(self.out / "quarantine.parquet", _QUARANTINE, rows)
        return dict(engine.rows("SELECT reason, count(*) FROM bad GROUP BY reason"))

    def _number(
        self,
        engine: Engine,
        catalog: Catalog | None,
        moved: npt.NDArray[np.int32] | None,
        num_usable: int,
    ) -> Facts:
        """Write interactions and users, and without a catalog the items; returns their counts."""
        users = self._ids(engine, "users", "user_id")
        items = self._ids(engine, "items", "item_id", "catalog" if catalog is not None else None)
        rule = self.data.interactions.duplicates
        numbering = Pass(users, items, keep_repeats=rule == "keep")
        times: list[int] = []

        num_past = self.earlier.facts["num_interactions"] if self.earlier is not None else 0
        pace = Pace(self.listener, "numbering interactions", "rows", num_past + num_usable)

        def numbered() -> Iterator[pa.Table]:
            for rows in self._past(moved):
                pace.add(len(rows))
                yield rows
            for batch in engine.batches(self._sorted(first_only=rule == "first")):
                pace.add(batch.num_rows)
                yield numbering.number(batch)

        def timed() -> Iterator[pa.Table]:
            for rows in numbered():
                if len(rows):
                    ends = (rows["timestamp"][0].as_py(), rows["timestamp"][-1].as_py())
                    times[:] = [times[0] if times else ends[0], ends[1]]
                yield rows

        total = write_rows(self.out / "interactions.parquet", NUMBERED, timed())
        facts = self.earlier.facts if self.earlier is not None else {}
        num_new = total - num_past
        num_users = self._write_ids(engine, "users", "user_id", users)
        num_items = len(catalog.ids) if catalog is not None else None
        return {
            "num_interactions": total,
            "num_users": num_users,
            "num_items": num_items or self._write_ids(engine, "items", "item_id", items),
            "num_duplicates": num_usable - num_new + facts.get("num_duplicates", 0),
            "first_time": iso(times[0]) if times else "",
            "last_time": iso(times[1]) if times else "",
        }

    def _ids(self, engine: Engine, name: str, column: str, known: str | None = None) -> Rows:
        """Table `name`: the ids of a column, their ranks by value, and the rows they have.

        Ranks order integers by size and strings by their bytes. `old_row` is the row in the
        earlier ingest. `known` is a table of the rows, else those of the earlier ingest count.
        """
        old = "(SELECT NULL AS id, NULL::INTEGER AS row WHERE false)"
        num_known = 0
        if self.earlier is not None:
            file = self.earlier.path / f"{name}.parquet"
            num_known = pq.read_metadata(file).num_rows
            old = (
                f"(SELECT {column} AS id, file_row_number::INTEGER AS row "
                f"FROM {parquet(file, numbered=True)})"
            )
        engine.run(
            f"CREATE TEMP TABLE {name} AS SELECT d.id, k.row, o.row AS old_row, "
            "(row_number() OVER (ORDER BY d.id) - 1)::INTEGER AS rank "
            f"FROM (SELECT DISTINCT {column} AS id FROM landed WHERE {self._present(column)}) d "
            f"LEFT JOIN {known or old} k ON k.id = d.id LEFT JOIN {old} o ON o.id = d.id"
        )
        rows = engine.column(f"SELECT coalesce(row, -1) FROM {name} ORDER BY rank", np.int32)
        return Rows(rows, num_known)

    def _sorted(self, *, first_only: bool) -> str:
        """The good rows as (time, rank of the user, rank of the item, weight), in a total order."""
        once = again = ""
        if first_only:
            once = (
                "QUALIFY row_number() OVER (PARTITION BY u.rank, i.rank "
                "ORDER BY j.timestamp, j.weight DESC) = 1"
            )
            if self.earlier is not None:
                file = self.earlier.path / "interactions.parquet"
                again = (
                    f"AND NOT EXISTS (SELECT 1 FROM {parquet(file)} p "
                    "WHERE p.user_row = u.old_row AND p.item_row = i.old_row)"
                )
        return (
            "SELECT j.timestamp, u.rank, i.rank, j.weight FROM judged j "
            "JOIN users u ON u.id = j.user_id JOIN items i ON i.id = j.item_id "
            f"WHERE j.reason IS NULL {again} {once} "
            "ORDER BY j.timestamp, u.rank, i.rank, j.weight DESC"
        )

    def _past(self, moved: npt.NDArray[np.int32] | None) -> Iterator[pa.Table]:
        """The interactions of the earlier ingest, with the rows that items have now."""
        if self.earlier is None:
            return
        for batch in stored_batches(self.earlier.path / "interactions.parquet"):
            rows = pa.Table.from_batches([batch])
            if moved is not None:
                items = pa.array(moved[batch["item_row"].to_numpy()])
                rows = rows.set_column(1, NUMBERED.field("item_row"), items)
            yield rows

    def _write_ids(self, engine: Engine, name: str, column: str, rows: Rows) -> int:
        """Write the ids in the order of their rows; returns how many there are."""
        fields = {column: self.types[column]}
        schema = pa.schema(fields if name == "users" else {**fields, "title": pa.string()})
        ranks = rows.appeared
        places = np.arange(len(ranks), dtype=np.int32)
        engine.table(f"new_{name}", pa.table({"rank": pa.array(ranks), "place": pa.array(places)}))
        shown = "n.id" if name == "users" else "n.id, n.id::VARCHAR AS title"

        def ids() -> Iterator[pa.RecordBatch]:
            if self.earlier is not None:
                yield from stored_batches(self.earlier.path / f"{name}.parquet")
            query = f"SELECT {shown} FROM new_{name} a JOIN {name} n USING (rank) ORDER BY a.place"
            for batch in engine.batches(query):
                yield batch.rename_columns(schema.names)

        return write_rows(self.out / f"{name}.parquet", schema, ids())


def _nothing_left(num_rows: int, quarantined: dict[str, int]) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in quarantined.items())
    return (
        f"no usable interaction is left: all {num_rows:,} were quarantined ({counts}); check the "
        f"columns and the timestamp_unit of the configuration"
    )
