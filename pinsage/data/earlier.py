"""An earlier ingest that a new one may go on from: which, and whether nothing in it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.data.catalog import Catalog
from pinsage.data.engine import Engine, parquet
from pinsage.data.times import iso
from pinsage.errors import ArtifactError
from pinsage.store import Artifact, Facts, open_artifact

ORPHAN = "item not in the catalog"


@dataclass(frozen=True)
class Earlier:
    """An ingest of some of a snapshot's parts, and the row groups that hold the others."""

    path: Path
    key: str
    facts: Facts
    new_groups: list[int]


class ChangesThePastError(Exception):
    """The new rows change rows that were numbered; the message says how."""


def find_earlier(
    made: Iterable[Artifact],
    parts: list[list[Any]],
    *,
    settings: Mapping[str, Any],
    code: str,
) -> Earlier | None:
    """The ingest, among those `made`, that has most of the `parts` and nothing else.

    It must have been made with the same settings and code, and is verified. A part is
    [digest of its content, number of its row groups].
    """
    found: list[tuple[int, list[int], Artifact]] = []
    for artifact in made:
        manifest = artifact.manifest
        had = [digest for digest, _ in manifest.facts.get("parts", [])]
        groups = _groups_without(had, parts)
        if had and groups is not None and manifest.settings == settings and manifest.code == code:
            found.append((len(had), groups, artifact))
    for _, groups, artifact in sorted(found, key=lambda each: each[0], reverse=True):
        try:
            open_artifact(artifact.path)
        except ArtifactError:
            continue  # a full ingest needs none; whoever asks for that artifact is told
        return Earlier(artifact.path, artifact.manifest.key, artifact.facts, groups)
    return None


def _groups_without(had: list[str], parts: list[list[Any]]) -> list[int] | None:
    """The row groups of those parts that were not there; None where one that was there is gone."""
    known, groups, place = Counter(had), list[int](), 0
    for digest, size in parts:
        if known[digest]:
            known[digest] -= 1
        else:
            groups.extend(range(place, place + size))
        place += size
    return None if known.total() else groups


def require_unchanged_past(
    engine: Engine, earlier: Earlier, types: Mapping[str, pa.DataType], catalog: Catalog | None
) -> npt.NDArray[np.int32] | None:
    """Item rows by earlier item row, None where they are the same.

    `judged` holds the new interactions. Raises ChangesThePastError where one of them is not later
    than all earlier ones, where ids changed their type, or where the catalog lost an item or has
    one now that interactions were quarantined for.
    """
    for name, column in (("users", "user_id"), ("items", "item_id")):
        before = pq.read_schema(earlier.path / f"{name}.parquet").field(column).type
        if before != types[column]:
            raise ChangesThePastError(f"{column} became {types[column]}, it was {before}")
    (first,) = engine.one("SELECT min(timestamp) FROM judged WHERE reason IS NULL")
    last = _last_time(earlier.path)
    if first is not None and first <= last:
        raise ChangesThePastError(
            f"a new interaction at {iso(first)} is not later than {iso(last)}, the last before"
        )
    if catalog is None:
        return None
    items = pq.read_table(earlier.path / "items.parquet", columns=["item_id"])["item_id"]
    rows = catalog.rows_of(items.combine_chunks())
    if (rows < 0).any():
        lost = items[int(np.argmin(rows))].as_py()
        raise ChangesThePastError(f"the catalog has no item {lost!r} any more")
    (found,) = engine.one(
        f"SELECT min(q.item_id) FROM {parquet(earlier.path / 'quarantine.parquet')} q "
        f"JOIN catalog c ON c.id::VARCHAR = q.item_id WHERE q.reason = '{ORPHAN}'"
    )
    if found is not None:
        raise ChangesThePastError(f"the catalog has item {found!r} now, which was quarantined")
    return None if np.array_equal(rows, np.arange(len(rows))) else rows


def _last_time(path: Path) -> int:
    with pq.ParquetFile(path / "interactions.parquet") as file:
        times = file.read_row_group(file.num_row_groups - 1, columns=["timestamp"])["timestamp"]
    return int(times[-1].as_py())
