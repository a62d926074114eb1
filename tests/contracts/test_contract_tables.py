"""The derived columns, against plain Python over the rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.tables import kind_of, newest_timestamp, read_interactions, read_items

IDS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d"]))
ROWS = st.lists(st.tuples(IDS, IDS, st.one_of(st.none(), st.integers(0, 2))), max_size=30)
ALL = frozenset({"user_id", "item_id", "timestamp", "weight"})


def write(folder: str, name: str, **columns: Any) -> Path:
    path = Path(folder, name)
    pq.write_table(pa.table(columns), path)
    return path


@given(ROWS, st.lists(IDS, max_size=6))
@settings(max_examples=40, deadline=None)
def test_orphans_and_repeats_are_those_of_a_loop(
    rows: list[tuple[str | None, str | None, int | None]], catalog: list[str | None]
) -> None:
    users, items, times = zip(*rows, strict=True) if rows else ((), (), ())
    with TemporaryDirectory() as folder:
        interactions = write(
            folder,
            "interactions.parquet",
            user_id=pa.array(users, pa.string()),
            item_id=pa.array(items, pa.string()),
            timestamp=pa.array(times, pa.int64()),
            weight=pa.array([1.0] * len(rows), pa.float32()),
        )
        known = write(folder, "items.parquet", item_id=pa.array(catalog, pa.string()))
        frame = read_interactions(interactions, known, ALL).frame
        assert newest_timestamp(interactions) == max(
            (time for time in times if time is not None), default=None
        )
    assert frame["known_item"].tolist() == [item is None or item in catalog for item in items]
    seen: Counter[tuple[str | None, str | None, int | None]] = Counter()
    expected = []
    for row in rows:
        expected.append(seen[row] > 0 and None not in row)
        seen[row] += 1
    assert frame["repeat"].tolist() == expected


@given(st.lists(st.tuples(IDS, st.sampled_from([1.0, 2.0])), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_conflict_is_an_id_with_more_than_one_content(
    rows: list[tuple[str | None, float]],
) -> None:
    with TemporaryDirectory() as folder:
        catalog = write(
            folder,
            "items.parquet",
            item_id=pa.array([item for item, _ in rows], pa.string()),
            price=pa.array([price for _, price in rows], pa.float64()),
        )
        frame = read_items(catalog, {"price": "numerical"}, frozenset({"item_id", "price"})).frame
    contents = {item: {price for other, price in rows if other == item} for item, _ in rows}
    expected = [item is not None and len(contents[item]) > 1 for item, _ in rows]
    assert frame["conflict"].tolist() == expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (pa.int32(), "integer"),
        (pa.uint64(), "integer"),
        (pa.float16(), "float"),
        (pa.decimal128(9, 2), "float"),
        (pa.large_string(), "string"),
        (pa.dictionary(pa.int32(), pa.string()), "string"),
        (pa.date32(), "timestamp"),
        (pa.timestamp("ns", "UTC"), "timestamp"),
        (pa.bool_(), "boolean"),
        (pa.list_(pa.float32(), 4), "list of float"),
        (pa.large_list(pa.string()), "list of string"),
        (pa.struct([("a", pa.int8())]), "struct<a: int8>"),
    ],
)
def test_width_and_encoding_do_not_make_a_kind(kind: pa.DataType, name: str) -> None:
    assert kind_of(kind) == name


def test_ids_too_large_for_a_float_stay_apart_beside_a_missing_one(tmp_path: Path) -> None:
    large = 2**60
    path = write(
        str(tmp_path),
        "interactions.parquet",
        user_id=pa.array([large, large + 1, None]),
        item_id=pa.array([1, 1, 1]),
    )
    frame = read_interactions(path, None, frozenset({"user_id", "item_id"})).frame
    assert frame["user_id"].nunique() == 2


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2)])
def test_vectors_become_comparable_and_counted(tmp_path: Path, kind: pa.DataType) -> None:
    inf = float("inf")
    vectors = pa.array([[1.0, 2.0], [1.0, 2.0], [inf, -inf]], kind)
    path = write(str(tmp_path), "items.parquet", image=vectors)
    frame = read_items(path, {"image": "embedding"}, frozenset({"image"})).frame
    assert frame["image"].nunique() == 2
    assert frame["image length"].tolist() == [2.0, 2.0, 2.0]
    assert frame["image not finite"].tolist() == [0, 0, 2]


def test_a_missing_vector_shifts_no_other(tmp_path: Path) -> None:
    vectors = pa.array([[1.0], None, [], [float("nan"), 1.0], [2.0]])
    path = write(str(tmp_path), "items.parquet", image=vectors)
    frame = read_items(path, {"image": "embedding"}, frozenset({"image"})).frame
    assert frame["image"].isna().tolist() == [False, True, True, False, False]
    assert frame["image not finite"].tolist() == [0, 0, 0, 1, 0]


def test_blank_text_and_empty_lists_are_missing(tmp_path: Path) -> None:
    path = write(
        str(tmp_path),
        "items.parquet",
        title=pa.array(["Toy Story", " ", None]),
        tags=pa.array([["a", "b"], [], None]),
    )
    sound = frozenset({"title", "tags"})
    frame = read_items(path, {"tags": "multicategorical"}, sound).frame
    assert frame["title"].isna().tolist() == [False, True, True]
    assert frame["tags"].isna().tolist() == [False, True, True]
