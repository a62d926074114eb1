"""Every way to break the contract on the data is found, named, counted and shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import pyarrow as pa
import pytest

from data_contracts.gate import enforce
from pinsage.errors import ContractError
from pinsage.store import Artifact

Gate = Callable[..., Artifact]
Tables = dict[str, Any]

NULLS = "expect_column_values_to_not_be_null"
BETWEEN = "expect_column_values_to_be_between"
EXISTS = "expect_column_to_exist"
KIND = "expect_column_most_common_value_to_be_in_set"
IN_SET = "expect_column_values_to_be_in_set"
DISTINCT = "expect_column_unique_value_count_to_be_between"
ROWS = "expect_table_row_count_to_be_between"


def put(column: str, changes: dict[int, Any], table: int = 0) -> Callable[[Tables, Tables], None]:
    """Spoil the given rows of a column of the interactions (0) or the items (1)."""

    def spoil(*tables: Tables) -> None:
        values = tables[table][column].to_pylist()
        for row, value in changes.items():
            values[row] = value
        tables[table][column] = pa.array(values, tables[table][column].type)

    return spoil


def drop(column: str, table: int = 0) -> Callable[[Tables, Tables], None]:
    def spoil(*tables: Tables) -> None:
        del tables[table][column]

    return spoil


def cast(column: str, kind: pa.DataType, table: int = 0) -> Callable[[Tables, Tables], None]:
    def spoil(*tables: Tables) -> None:
        tables[table][column] = tables[table][column].cast(kind)

    return spoil


def every(column: str, value: Any, table: int = 0) -> Callable[[Tables, Tables], None]:
    return put(column, dict.fromkeys(range(12 if table else 240), value), table)


def no_rows(interactions: Tables, items: Tables) -> None:
    for name, column in interactions.items():
        interactions[name] = column[:0]


def milliseconds_as_seconds(interactions: Tables, items: Tables) -> None:
    milliseconds = [value // 1000 for value in interactions["timestamp"].to_pylist()]
    interactions["timestamp"] = pa.array([value * 1_000_000 for value in milliseconds])


def seconds_as_milliseconds(interactions: Tables, items: Tables) -> None:
    seconds = [value // 1_000_000 for value in interactions["timestamp"].to_pylist()]
    interactions["timestamp"] = pa.array([value * 1000 for value in seconds])


def other_content_under_the_same_id(interactions: Tables, items: Tables) -> None:
    for name, column in items.items():
        items[name] = pa.concat_arrays([column, column[:1]])
    put("price", {12: 99.0}, 1)(interactions, items)


def repeats(interactions: Tables, items: Tables) -> None:
    for name, column in interactions.items():
        interactions[name] = pa.concat_arrays([column, column, column[:1]])


Case = tuple[Callable[..., None], str, str, str | None, int | None, str]

# What is wrong: (how, table, expectation, column, offending rows, what is found). The faults of a
# group do not touch each other, so one run of the gate finds them all.
GROUPS: list[dict[str, Case]] = [
    {
        "no user column": (drop("user_id"), "interactions", EXISTS, "user_id", None, "no such"),
        "text as time": (
            cast("timestamp", pa.string()), "interactions", KIND, "timestamp", None, "string",
        ),
        "no feature column": (drop("genre", 1), "items", EXISTS, "genre", None, "no such column"),
        "text as number": (cast("price", pa.string(), 1), "items", KIND, "price", None, "string"),
    },
    {
        "missing users": (
            put("user_id", {0: None, 7: None}), "interactions", NULLS, "user_id", 2, "2 of 240",
        ),
        "missing items": (
            put("item_id", {3: None, 8: ""}), "interactions", NULLS, "item_id", 2,
            "2 of 240 rows (0.833%)",
        ),
        "unreadable times": (
            put("timestamp", {5: None}), "interactions", NULLS, "timestamp", 1, "1 of 240 rows",
        ),
        "unknown items": (
            put("item_id", {10: "x", 11: "y", 12: "z"}), "interactions", IN_SET, "item_id", 3,
            "3 of 240 rows (1.25%)",
        ),
        "a row from the future": (
            put("timestamp", {9: 4_000_000_000_000_000}), "interactions", BETWEEN, "timestamp", 1,
            "1 of 240 rows",
        ),
        "a weight that is not a number": (
            put("weight", {4: float("nan")}), "interactions", NULLS, "weight", 1, "1 of 240 rows",
        ),
        "an infinite weight": (
            put("weight", {6: float("inf")}), "interactions", BETWEEN, "weight", 1, "1 of 240 rows",
        ),
        "an infinite feature": (
            put("price", {2: float("inf")}, 1), "items", BETWEEN, "price", 1, "1 of 12 rows",
        ),
        "a constant category": (every("genre", "drama", 1), "items", DISTINCT, "genre", None, "1"),
        "a constant list": (every("tags", ["a"], 1), "items", DISTINCT, "tags", None, "1"),
        "an infinity in a vector": (
            put("image", {2: [1.0, float("inf"), 0.0]}, 1), "items", BETWEEN, "image", 1,
            "1 of 12 rows",
        ),
        "blank titles": (every("title", "  ", 1), "items", NULLS, "title", 12, "12 of 12 rows"),
    },
    {
        "milliseconds read as seconds": (
            milliseconds_as_seconds, "interactions", BETWEEN, "timestamp", 240, "240 of 240 rows",
        ),
        "one user": (every("user_id", "u0"), "interactions", DISTINCT, "user_id", None, "1"),
        "one item": (every("item_id", "i0"), "interactions", DISTINCT, "item_id", None, "1"),
        "an item without id": (
            put("item_id", {11: None}, 1), "items", NULLS, "item_id", 1, "1 of 12 rows",
        ),
        "no vectors": (every("image", None, 1), "items", NULLS, "image", 12, "12 of 12 rows"),
    },
    {
        "no rows": (no_rows, "interactions", ROWS, None, None, "0"),
        "a constant vector": (
            every("image", [1.0, 2.0, 3.0], 1), "items", DISTINCT, "image", None, "1",
        ),
    },
    {
        "mostly repeats": (
            repeats, "interactions", IN_SET, "timestamp", 241, "241 of 481 rows (50.1%)",
        ),
        "a vector of another length": (
            put("image", {2: [1.0]}, 1), "items", BETWEEN, "image", 1, "1 of 12 rows",
        ),
    },
    {
        "seconds read as milliseconds": (
            seconds_as_milliseconds, "interactions", BETWEEN, "timestamp", 240, "240 of 240 rows",
        ),
        "one id, two contents": (
            other_content_under_the_same_id, "items", IN_SET, "item_id", 2, "2 of 13 rows",
        ),
    },
]  # fmt: skip
CASES = [(group, what) for group, faults in enumerate(GROUPS) for what in faults]


@pytest.mark.parametrize(("group", "what"), CASES)
def test_a_breach_names_table_expectation_column_count_and_rows(
    gate: Gate, group: int, what: str
) -> None:
    def spoil(interactions: Tables, items: Tables) -> None:
        for how, *_ in GROUPS[group].values():
            how(interactions, items)

    _, table, expectation, column, count, found = GROUPS[group][what]
    checked = gate(spoil)
    assert not checked.facts["passed"]
    key = (table, expectation, column)
    breaches = [
        breach
        for breach in checked.facts["breaches"]
        if (breach["table"], breach["expectation"], breach["column"]) == key
    ]
    assert [breach["count"] for breach in breaches] == [count], checked.facts["breaches"]
    assert breaches[0]["found"].startswith(found)
    assert len(breaches[0]["rows"]) == min(count or 0, 20)
    with pytest.raises(ContractError) as caught:
        enforce(checked)
    where = f"{table}.{column}" if column else table
    assert f"{where}: {expectation}" in str(caught.value)
    assert str(checked.path / "data_docs" / "index.html") in str(caught.value)


def test_sound_data_passes_and_is_found_again(gate: Gate) -> None:
    checked = gate()
    enforce(checked)
    assert checked.facts["passed"]
    assert checked.facts["breaches"] == checked.facts["tolerated"] == []
    assert checked.facts["num_expectations"] > 40
    assert gate().reused


def test_a_broken_contract_is_found_again_and_still_stops_the_run(gate: Gate) -> None:
    spoil = put("item_id", {3: None})
    gate(spoil)
    again = gate(spoil)
    assert again.reused
    with pytest.raises(ContractError):
        enforce(again)


def test_the_offending_rows_are_the_ones(gate: Gate) -> None:
    breaches = gate(put("timestamp", {9: 4_000_000_000_000_000})).facts["breaches"]
    assert [breach["rows"] for breach in breaches] == [
        [{"user_id": "u9", "item_id": "i0", "timestamp": "2096-10-02T07:06:40Z"}]
    ]


def test_a_count_is_of_all_rows_where_20_are_shown(gate: Gate) -> None:
    [breach] = gate(milliseconds_as_seconds).facts["breaches"]
    assert (breach["count"], len(breach["rows"])) == (240, 20)
    assert breach["rows"][0]["timestamp"].startswith("55840-")
    assert "timestamp_unit" in breach["hint"]


def test_orphans_within_the_limit_are_tolerated_and_told(gate: Gate) -> None:
    checked = gate(put("item_id", {1: "x", 2: "y"}))  # 2 of 240: under 1 %
    assert checked.facts["passed"]
    [told] = checked.facts["tolerated"]
    assert (told["column"], told["count"]) == ("item_id", 2)
    assert [row["item_id"] for row in told["rows"]] == ["x", "y"]


def test_a_share_of_exactly_the_limit_is_allowed(gate: Gate) -> None:
    tenth = dict.fromkeys(range(24), "x")
    assert gate(put("item_id", tenth), max_orphan_share=0.1).facts["passed"]
    assert not gate(put("item_id", tenth), max_orphan_share=0.09).facts["passed"]


def test_an_identical_repeat_of_an_item_is_a_warning(gate: Gate) -> None:
    def repeat(_interactions: Tables, items: Tables) -> None:
        for name, column in items.items():
            items[name] = pa.concat_arrays([column, column[:1]])

    checked = gate(repeat)
    assert checked.facts["passed"]
    [told] = checked.facts["tolerated"]
    assert told["expectation"] == "expect_column_values_to_be_unique"
    assert told["column"] == "item_id"


def test_the_key_changes_when_a_future_row_comes_within_the_bound(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        @staticmethod
        def now(zone: tzinfo) -> datetime:
            return datetime(2097, 1, 1, tzinfo=zone)

    spoil = put("timestamp", {9: 4_000_000_000_000_000})
    assert not gate(spoil).facts["passed"]
    monkeypatch.setattr("data_contracts.gate.datetime", Clock)
    assert gate(spoil).facts["passed"]


def test_a_missing_column_leaves_the_other_columns_checked(gate: Gate) -> None:
    def two_faults(interactions: Tables, items: Tables) -> None:
        drop("user_id")(interactions, items)
        put("weight", {4: float("inf")})(interactions, items)

    columns = [breach["column"] for breach in gate(two_faults).facts["breaches"]]
    assert columns == ["user_id", "weight"]


def test_rows_are_counted_where_no_column_can_be_used(gate: Gate) -> None:
    def rename(interactions: Tables, items: Tables) -> None:
        for name in ("user_id", "item_id", "timestamp", "weight"):
            interactions[f"{name}_"] = interactions.pop(name)

    expectations = {breach["expectation"] for breach in gate(rename).facts["breaches"]}
    assert expectations == {EXISTS}
