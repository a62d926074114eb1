"""The split by time: the future never leaks, and one timestamp never straddles a cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pinsage.config import SplitConfig
from pinsage.data.split import PARTS, write_split
from pinsage.errors import SourceError
from pinsage.store import Facts

Parts = dict[str, list[int]]


def split(folder: Path, times: list[int], train: float = 0.7, valid: float = 0.1) -> Facts:
    count = len(times)
    columns: dict[str, Any] = {
        "user_row": pa.array(range(count), pa.int32()),
        "item_row": pa.array(range(count), pa.int32()),
        "timestamp": pa.array(sorted(times), pa.int64()),
        "weight": pa.array([1.0] * count, pa.float32()),
    }
    pq.write_table(pa.table(columns), folder / "interactions.parquet")
    pq.write_table(pa.table({"item_id": list(range(count))}), folder / "items.parquet")
    config = SplitConfig(train_share=train, valid_share=valid)
    return write_split(folder, config, folder, has_catalog=True)


def parts(folder: Path) -> Parts:
    tables: dict[str, Any] = {part: pq.read_table(folder / f"{part}.parquet") for part in PARTS}
    return {part: table["timestamp"].to_pylist() for part, table in tables.items()}


def test_ten_rows_are_cut_into_seven_one_and_two(tmp_path: Path) -> None:
    facts = split(tmp_path, list(range(10)))
    assert parts(tmp_path) == {"train": [0, 1, 2, 3, 4, 5, 6], "valid": [7], "test": [8, 9]}
    assert facts == {
        "valid_from": "1970-01-01T00:00:00.000007+00:00",
        "test_from": "1970-01-01T00:00:00.000008+00:00",
        "seen_until": "1970-01-01T00:00:00.000007+00:00",
        "num_items": 10,
        "num_train": 7,
        "num_valid": 1,
        "num_test": 2,
    }


def test_all_columns_come_along(tmp_path: Path) -> None:
    split(tmp_path, list(range(10)))
    schema = pq.read_schema(tmp_path / "interactions.parquet")
    assert all(pq.read_schema(tmp_path / f"{part}.parquet") == schema for part in PARTS)
    assert pq.read_table(tmp_path / "test.parquet")["user_row"].to_pylist() == [8, 9]


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.sampled_from([0.3, 0.5, 0.7]))
def test_parts_are_stretches_of_time_that_hold_every_row_once(
    tmp_path: Path, times: list[int], train: float
) -> None:
    try:
        split(tmp_path, times, train, 0.2)
    except SourceError:
        assume(False)
    found = parts(tmp_path)
    assert found["train"] + found["valid"] + found["test"] == sorted(times)
    assert max(found["train"]) < min(found["valid"])
    assert max(found["valid"]) < min(found["test"])


def test_what_happens_after_the_test_began_moves_no_earlier_row(tmp_path: Path) -> None:
    split(tmp_path, list(range(100)))
    before = parts(tmp_path)
    split(tmp_path, [*range(80), *(time * 1000 for time in range(80, 100))])
    after = parts(tmp_path)
    assert (after["train"], after["valid"]) == (before["train"], before["valid"])


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([1] * 8 + [2, 3], r"the train part is empty.*raise split\.train_share \(now 0\.7\)"),
        ([1, 2, 3] + [4] * 7, r"the valid part is empty.*raise split\.valid_share \(now 0\.1\)"),
        ([1, 2], r"2 interactions have only 2 distinct times.*3 parts need at least 3"),
        ([1], "only 1 distinct times"),
    ],
)
def test_an_empty_part_is_refused_with_the_remedy(
    tmp_path: Path, times: list[int], told: str
) -> None:
    with pytest.raises(SourceError, match=told):
        split(tmp_path, times)
    assert not list(tmp_path.glob("t*.parquet"))
