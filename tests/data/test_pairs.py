"""Consecutive pairs against a plain walk over each user's history."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.data.pairs import consecutive_pairs

Row = tuple[int, int, int]
Rule = Literal["drop", "both"]
M64 = 2**64 - 1


def log(rows: list[Row]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    kinds = (pa.int32(), pa.int32(), pa.int64())
    names = ("user_row", "item_row", "timestamp")
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(names, arrays, strict=True)))


def pairs(rows: list[Row], rule: Rule = "drop", max_gap_us: int = 0, window: int = 1) -> list[Row]:
    found = consecutive_pairs(log(rows), equal_times=rule, max_gap_us=max_gap_us, window=window)
    arrays = (found.user_row, found.query_row, found.positive_row)
    assert all(array.dtype == np.int32 for array in arrays)
    return list(zip(*(array.tolist() for array in arrays), strict=True))


def split_mix(state: int) -> int:
    state = (state + 0x9E3779B97F4A7C15) & M64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & M64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & M64
    return state ^ (state >> 31)


def place(row: Row) -> int:
    return split_mix(split_mix(split_mix(row[0]) ^ row[1]) ^ row[2])


def reference(rows: list[Row], rule: Rule, max_gap_us: int, window: int) -> list[Row]:
    found: list[Row] = []
    ordered = sorted(rows, key=lambda row: (row[0], row[2], place(row)))
    for user, group in groupby(ordered, key=lambda row: row[0]):
        history = list(group)
        near = [
            (history[at], history[at + step])
            for at in range(len(history))
            for step in range(1, window + 1)
            if at + step < len(history)
        ]
        for (_, q, start), (_, i, end) in near:
            if q == i or (max_gap_us and end - start > max_gap_us):
                continue
            if start < end:
                found.append((user, q, i))
            elif rule == "both":
                found += [(user, q, i), (user, i, q)]
    return found


ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 6)), max_size=40)


@settings(deadline=None)
@given(
    rows=ROWS,
    rule=st.sampled_from(["drop", "both"]),
    gap=st.integers(0, 3),
    window=st.integers(1, 4),
)
def test_pairs_agree_with_the_reference(rows: list[Row], rule: Rule, gap: int, window: int) -> None:
    assert pairs(rows, rule, gap, window) == reference(rows, rule, gap, window)


@settings(deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_is_no_matter(rows: list[Row], order: object) -> None:
    shuffled = rows[:]
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pairs(rows, "both") == pairs(shuffled, "both")


def test_a_history_of_three_gives_two_pairs_in_the_order_of_time() -> None:
    assert pairs([(0, 7, 30), (0, 5, 10), (0, 6, 20)]) == [(0, 5, 6), (0, 6, 7)]


def test_pairs_never_cross_users() -> None:
    assert pairs([(0, 1, 1), (1, 2, 2), (2, 3, 3)]) == []


def test_an_item_is_no_pair_with_itself_and_is_not_skipped_over() -> None:
    assert pairs([(0, 1, 1), (0, 1, 2), (0, 2, 3)]) == [(0, 1, 2)]


def test_equal_times_are_dropped_or_go_both_ways() -> None:
    rows = [(0, 1, 5), (0, 2, 5)]
    assert pairs(rows, "drop") == []
    assert sorted(pairs(rows, "both")) == [(0, 1, 2), (0, 2, 1)]


def test_a_pair_longer_apart_than_the_gap_is_left_out() -> None:
    rows = [(0, 1, 0), (0, 2, 10), (0, 3, 21)]
    assert pairs(rows, max_gap_us=10) == [(0, 1, 2)]
    assert pairs(rows, max_gap_us=0) == [(0, 1, 2), (0, 2, 3)]


def test_a_window_of_two_reaches_over_one_interaction_and_says_how_far() -> None:
    found = consecutive_pairs(
        log([(0, 5, 10), (0, 6, 20), (0, 7, 30)]), equal_times="drop", window=2
    )
    columns = (found.query_row, found.positive_row, found.distance, found.time)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == [
        (5, 6, 1, 20), (5, 7, 2, 30), (6, 7, 1, 30),
    ]  # fmt: skip


def test_no_item_of_a_basket_is_favoured_by_its_number() -> None:
    # 4,000 users with two baskets of the same four items: each should stand for them by turns.
    rows = [(user, item, time) for user in range(4000) for time in (1, 2) for item in range(4)]
    found = consecutive_pairs(log(rows), equal_times="drop")
    for column in (found.query_row, found.positive_row):
        counts = Counter(column.tolist())
        assert set(counts) == {0, 1, 2, 3}
        assert max(counts.values()) - min(counts.values()) < 0.12 * len(found)


def test_a_weekly_item_does_not_always_stand_for_its_basket() -> None:
    rows = [(0, item, week) for week in range(400) for item in (1, 2)]
    counts = Counter(q for _, q, _ in pairs(rows))
    assert 0.35 < counts[1] / (counts[1] + counts[2]) < 0.65


def test_a_file_reads_like_a_table(tmp_path: Path) -> None:
    table = log([(0, 1, 1), (0, 2, 2), (1, 2, 3)])
    file = tmp_path / "log.parquet"
    pq.write_table(table.append_column("weight", pa.array([1.0] * 3)), file)
    found = consecutive_pairs(file, equal_times="drop")
    assert (found.query_row.tolist(), found.positive_row.tolist()) == ([1], [2])


@pytest.mark.parametrize("rows", [[], [(0, 1, 1)]])
def test_too_short_a_history_has_no_pair(rows: list[Row]) -> None:
    assert len(consecutive_pairs(log(rows), equal_times="both")) == 0
