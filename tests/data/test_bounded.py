"""Ingest within a limit of memory: the same bytes, whatever fits, and a peak that does not grow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage.config import DataConfig
from pinsage.data import catalog
from pinsage.data.catalog import read_catalog, write_catalog
from pinsage.data.engine import open_engine, parquet
from pinsage.data.ingest import write_ingested
from pinsage.data.row_groups import row_groups, write_rows
from pinsage.errors import ArtifactError, ConfigError

QUICK = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def write_snapshot(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(rows)
    table: dict[str, Any] = {
        "user_id": pa.array(draw.integers(0, rows // 10, rows)).cast(pa.string()),
        "item_id": pa.array(draw.integers(0, 5_000, rows)),
        "timestamp": pa.array(draw.integers(0, 10**9, rows)),
        "weight": pa.array(np.ones(rows, np.float32)),
    }
    folder.mkdir(parents=True)
    pq.write_table(pa.table(table), folder / "interactions.parquet", row_group_size=100_000)


def ingested(snapshot: Path, out: Path, **data: Any) -> dict[str, bytes]:
    out.mkdir()
    tree = {"interactions": {"path": "unused", **data.pop("interactions", {})}, **data}
    write_ingested(snapshot, DataConfig.model_validate(tree), out)
    return {file.name: file.read_bytes() for file in out.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("duplicates", ["exact", "first"])
def test_what_goes_to_disk_changes_no_byte(tmp_path: Path, duplicates: str) -> None:
    write_snapshot(tmp_path / "snapshot", 2_000_000)
    rule = {"duplicates": duplicates}
    small, large = (
        ingested(tmp_path / "snapshot", tmp_path / f"{n}", memory_mib=n, interactions=rule)
        for n in (128, 4096)
    )
    assert sorted(small) == [
        "interactions.parquet",
        "items.parquet",
        "quarantine.parquet",
        "users.parquet",
    ]
    assert small == large


def test_a_folder_may_be_called_like_a_pattern(tmp_path: Path) -> None:
    odd = tmp_path / "what's [new]? *"
    write_snapshot(odd / "snapshot", 50)
    write_snapshot(tmp_path / "snapshot", 50)
    assert ingested(odd / "snapshot", odd / "out") == ingested(
        tmp_path / "snapshot", tmp_path / "out"
    )


def sort_of(log: str) -> str:
    return f"CREATE TEMP TABLE t AS SELECT * FROM {log} ORDER BY user_id"  # noqa: S608


def test_too_little_memory_is_told_with_the_setting(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", 200_000)
    log = parquet(tmp_path / "snapshot" / "interactions.parquet")
    with (
        pytest.raises(ConfigError, match=r"data\.memory_mib: 1 MiB are too few.*raise it"),
        open_engine(tmp_path, 1) as engine,
    ):
        engine.run(sort_of(log))
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot"]


def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    write_snapshot(tmp_path / "snapshot", 400_000)
    log = parquet(tmp_path / "snapshot" / "interactions.parquet")
    with (
        pytest.raises(ArtifactError, match=r"no room for what does not fit.*free space"),
        open_engine(tmp_path, 8) as engine,
    ):
        engine.run(f"SET max_temp_directory_size = '1MB'; {sort_of(log)}")  # as a full disk has


_INGEST = """
import sys
from pathlib import Path
from pinsage.config import DataConfig
from pinsage.data.ingest import write_ingested
from pinsage.measure import Meter
data = DataConfig.model_validate({"interactions": {"path": "unused"}, "memory_mib": 128})
for name in sys.argv[1:]:
    (Path(name) / "out").mkdir()
    with Meter() as meter:
        write_ingested(Path(name), data, Path(name) / "out")
    print(meter.peak_mib)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resets the peak by /proc")
def test_memory_does_not_grow_with_the_interactions(tmp_path: Path) -> None:
    for name, rows in (("small", 1_500_000), ("large", 6_000_000)):
        write_snapshot(tmp_path / name, rows)
    done = subprocess.run(
        [sys.executable, "-c", _INGEST, "small", "large"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(float, done.stdout.split())
    assert large < small + 200  # in memory the 4.5 million rows more took 900 MiB


@QUICK
@given(sizes=st.lists(st.integers(0, 40), max_size=8), group=st.integers(1, 30))
def test_bytes_of_a_file_depend_on_its_rows_alone(
    tmp_path: Path, sizes: list[int], group: int
) -> None:

    values = range(sum(sizes))
    whole = pa.table({"a": pa.array(values), "b": pa.array([str(n % 7) for n in values])})
    with row_groups(tmp_path / "parts", whole.schema, group) as groups:
        start = 0
        for size in sizes:
            groups.add(whole.slice(start, size))
            start += size
    pq.write_table(whole, tmp_path / "whole", row_group_size=group)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_counts_what_it_writes(tmp_path: Path) -> None:
    rows = pa.table({"a": [1, 2, 3]})
    assert write_rows(tmp_path / "t", rows.schema, [rows, *rows.to_batches()]) == 6


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "_ROW_GROUP", 12)


@QUICK
@given(
    ids=st.lists(st.sampled_from([None, "", *"abcdefghijklmnop"]), min_size=1, max_size=60),
)
@pytest.mark.usefixtures("small_batches")
def test_an_id_of_the_catalog_has_its_first_place_and_its_last_content(
    tmp_path: Path, ids: list[str | None]
) -> None:
    ids = ["z", *ids]
    table = pa.table(
        {"item_id": pa.array(ids, pa.string()), "title": [str(n) for n in range(len(ids))]}
    )
    pq.write_table(table, tmp_path / "landed")
    expected = {name: str(n) for n, name in enumerate(ids) if name}  # keys stay where they were
    found = read_catalog(tmp_path / "landed")
    write_catalog(found, tmp_path / "landed", tmp_path / "items")
    written = pq.read_table(tmp_path / "items").to_pydict()
    assert dict(zip(written["item_id"], written["title"], strict=True)) == expected
    assert written["item_id"] == list(expected)
    assert found.num_without_id == sum(not name for name in ids)
    assert found.num_duplicates == len(ids) - found.num_without_id - len(expected)
