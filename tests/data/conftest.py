"""Small sources on disk, and the way from them to ingested interactions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import DataConfig
from pinsage.data.ingest import write_ingested
from pinsage.data.snapshot import write_snapshot
from pinsage.store import Facts

Write = Callable[[str, str], Path]
Land = Callable[..., tuple[Path, Facts]]
Rows = list[tuple[Any, ...]]


def _ids(values: tuple[Any, ...]) -> Any:
    kind = pa.int64() if any(isinstance(value, int) for value in values) else pa.string()
    return pa.array(values, kind)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text file below the test's folder."""

    def writer(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())
        return file

    return writer


@pytest.fixture
def land(tmp_path: Path) -> Land:
    """Snapshot a configuration given as dictionaries; returns the folder and the facts."""

    def lander(
        interactions: dict[str, Any], items: dict[str, Any] | None = None
    ) -> tuple[Path, Facts]:
        tree = {"interactions": interactions, "items": items}
        out = tmp_path / f"snapshot-{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        return out, write_snapshot(DataConfig.model_validate(tree), out)

    return lander


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[..., tuple[Path, Facts]]:
    """Ingest rows (user, item, time in µs[, weight]) and, if given, a catalog of (item, title)."""

    def ingester(
        rows: Rows, catalog: Rows | None = None, *, duplicates: str = "exact"
    ) -> tuple[Path, Facts]:
        folder = tmp_path / f"ingest-{len(list(tmp_path.iterdir()))}"
        snapshot, out = folder / "snapshot", folder / "out"
        snapshot.mkdir(parents=True)
        out.mkdir()
        user, item, time, weight = zip(*((*row, 1.0)[:4] for row in rows), strict=True)
        columns: dict[str, Any] = {
            "user_id": _ids(user),
            "item_id": _ids(item),
            "timestamp": pa.array(time, pa.int64()),
            "weight": pa.array(weight, pa.float32()),
        }
        pq.write_table(pa.table(columns), snapshot / "interactions.parquet")
        tree: dict[str, Any] = {"interactions": {"path": "unused", "duplicates": duplicates}}
        if catalog is not None:
            ids, titles = zip(*catalog, strict=True)
            items = pa.table({"item_id": _ids(ids), "title": list(titles)})
            pq.write_table(items, snapshot / "items.parquet")
            tree["items"] = {"path": "unused"}
        return out, write_ingested(snapshot, DataConfig.model_validate(tree), out)

    return ingester
