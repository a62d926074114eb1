"""Numbering, quarantine and deduplication against a slow reference in plain Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage.errors import SourceError
from pinsage.store import Facts

Ingest = Callable[..., tuple[Path, Facts]]
Row = tuple[Any, ...]
QUICK = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def table(folder: Path, name: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(folder / f"{name}.parquet").to_pydict()
    return found


def raw_rows(folder: Path) -> list[Row]:
    """The ingested interactions with their raw ids."""
    log = table(folder, "interactions")
    users, items = table(folder, "users")["user_id"], table(folder, "items")["item_id"]
    columns = (log["user_row"], log["item_row"], log["timestamp"], log["weight"])
    return [(users[u], items[i], t, w) for u, i, t, w in zip(*columns, strict=True)]


def reference(
    rows: list[Row], catalog: list[Any] | None, rule: str
) -> tuple[list[Row], Counter[str]]:
    """Slow and plain: one row after the other."""
    good, reasons = [], Counter[str]()
    for user, item, time, weight in rows:
        if user in (None, ""):
            reasons["missing user id"] += 1
        elif item in (None, ""):
            reasons["missing item id"] += 1
        elif time is None:
            reasons["unreadable timestamp"] += 1
        elif weight is None:
            reasons["unreadable weight"] += 1
        elif catalog is not None and item not in catalog:
            reasons["item not in the catalog"] += 1
        else:
            good.append((user, item, time, weight))
    good.sort(key=lambda row: (row[2], row[0], row[1], -row[3]))
    kept: dict[Any, Row] = {}
    for place, row in enumerate(good):
        key = {"exact": row[:3], "keep": place}.get(rule, row[:2])
        known = kept.get(key)
        if known is None:
            kept[key] = row
    return sorted(kept.values(), key=lambda row: (row[2], row[0], row[1], -row[3])), reasons


IDS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "B", "ä", "🎬", "10", "9", "a\0"]))
TIMES = st.one_of(st.none(), st.integers(0, 4))
WEIGHTS = st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.5]))
ROWS = st.lists(st.tuples(IDS, IDS, TIMES, WEIGHTS), min_size=1, max_size=40)


@pytest.mark.parametrize("rule", ["exact", "first", "keep"])
@QUICK
@given(rows=ROWS, known=st.one_of(st.none(), st.sets(st.sampled_from(["a", "b", "🎬", "zz"]))))
def test_ingest_agrees_with_the_reference(
    ingest: Ingest, rule: str, rows: list[Row], known: set[str] | None
) -> None:
    catalog = None if not known else [(item, item) for item in sorted(known)]
    expected, reasons = reference(rows, sorted(known) if known else None, rule)
    if not expected:
        with pytest.raises(SourceError, match="no usable interaction is left"):
            ingest(rows, catalog, duplicates=rule)
        return
    out, facts = ingest(rows, catalog, duplicates=rule)
    assert raw_rows(out) == expected
    assert facts["quarantined_by_reason"] == dict(reasons)
    assert facts["num_quarantined"] == len(table(out, "quarantine")["reason"])
    total = facts["num_interactions"] + facts["num_duplicates"] + facts["num_quarantined"]
    assert total == len(rows)


@settings(QUICK, max_examples=12)
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_source_changes_no_byte(
    ingest: Ingest, rows: list[Row], order: Any
) -> None:
    rows.append(("u", "i", 1, 1.0))
    shuffled = rows[:]
    order.shuffle(shuffled)
    for rule in ("exact", "first", "keep"):
        first, facts = ingest(rows, duplicates=rule)
        second, again = ingest(shuffled, duplicates=rule)
        assert facts == again
        for file in first.iterdir():
            assert file.read_bytes() == (second / file.name).read_bytes()


def test_columns_have_the_types_of_the_format(ingest: Ingest) -> None:
    out, _ = ingest([(5, 7, 1)])
    schema = pq.read_schema(out / "interactions.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "user_row": "int32",
        "item_row": "int32",
        "timestamp": "int64",
        "weight": "float",
    }
    assert pq.read_schema(out / "users.parquet").field("user_id").type == pa.int64()
    assert table(out, "items") == {"item_id": [7], "title": ["7"]}
    quarantine = pq.read_schema(out / "quarantine.parquet")
    assert [str(field.type) for field in quarantine] == ["string", "string", "int64", "string"]


def test_users_are_numbered_by_first_appearance_and_integers_sort_by_size(ingest: Ingest) -> None:
    out, facts = ingest([(9, 1, 5), (10, 1, 5), (3, 1, 7), (20, 1, 1)])
    assert table(out, "users")["user_id"] == [20, 9, 10, 3]
    assert facts["first_time"] == "1970-01-01T00:00:00.000001+00:00"
    assert facts["last_time"] == "1970-01-01T00:00:00.000007+00:00"


@QUICK
@given(rows=st.lists(st.tuples(IDS, IDS, st.integers(0, 9)), min_size=1, max_size=30))
def test_later_interactions_change_no_earlier_number(ingest: Ingest, rows: list[Row]) -> None:
    rows.append(("u", "i", 0))
    early, _ = ingest([row for row in rows if row[2] < 5])
    full, _ = ingest(rows)
    for name, column in (("users", "user_id"), ("items", "item_id")):
        known = table(early, name)[column]
        assert table(full, name)[column][: len(known)] == known


def test_rows_of_the_catalog_are_item_rows_even_of_items_nobody_touched(ingest: Ingest) -> None:
    catalog = [("c", "C"), ("a", "A"), ("b", "B")]
    out, facts = ingest([("u", "b", 1), ("u", "a", 2)], catalog)
    assert table(out, "interactions")["item_row"] == [2, 1]
    assert table(out, "items")["item_id"] == ["c", "a", "b"]
    assert facts["num_items"] == 3


def test_a_repeated_item_keeps_its_first_place_and_its_last_content(ingest: Ingest) -> None:
    catalog = [("a", "old"), ("b", "B"), (None, "nobody"), ("", "nothing"), ("a", "new")]
    out, facts = ingest([("u", "b", 1)], catalog)
    assert table(out, "items") == {"item_id": ["a", "b"], "title": ["new", "B"]}
    assert (facts["num_duplicate_items"], facts["num_items_without_id"]) == (1, 2)


def test_a_catalog_without_any_id_is_refused(ingest: Ingest) -> None:
    with pytest.raises(SourceError, match="the catalog has 2 rows and none with an id"):
        ingest([("u", "b", 1)], [("", "x"), ("", "y")])


def test_strange_ids_and_titles_survive(ingest: Ingest) -> None:
    strange = ["🎬🇩🇪", "שלום", "a\0b", "a\nb", "<script>", "x" * 10_000, "=1+1", " "]
    catalog = [(name, name[::-1]) for name in strange]
    out, _ = ingest([(name, name, time) for time, name in enumerate(strange)], catalog)
    assert table(out, "users")["user_id"] == strange
    assert table(out, "items") == {"item_id": strange, "title": [name[::-1] for name in strange]}
    assert [row[:2] for row in raw_rows(out)] == [(name, name) for name in strange]


def test_quarantine_names_one_reason_a_row(ingest: Ingest) -> None:
    rows = [(None, None, None), ("u", "", 1), ("u", "x", None), ("u", "lost", 3), ("u", "x", 4)]
    out, facts = ingest([*rows, ("u", "x", 5, None)], [("x", "X")])
    assert table(out, "quarantine") == {
        "user_id": ["u", "u", None, "u", "u"],
        "item_id": ["lost", "", None, "x", "x"],
        "timestamp": [3, 1, None, None, 5],
        "reason": [
            "item not in the catalog",
            "missing item id",
            "missing user id",
            "unreadable timestamp",
            "unreadable weight",
        ],
    }
    assert facts["num_interactions"] == 1


def test_a_large_table_is_numbered_without_gaps(ingest: Ingest) -> None:
    draw = np.random.default_rng(0)
    size = 50_000
    columns = [draw.integers(0, high, size).tolist() for high in (500, 300, 10_000)]
    out, facts = ingest(list(zip(*columns, strict=True)))
    log = pq.read_table(out / "interactions.parquet")
    times = log["timestamp"].to_numpy()
    assert (np.diff(times) >= 0).all()
    assert facts["num_interactions"] == len(set(zip(*columns, strict=True)))
    for column, count in (("user_row", facts["num_users"]), ("item_row", facts["num_items"])):
        seen = list(dict.fromkeys(log[column].to_pylist()))
        assert seen == list(range(count))
