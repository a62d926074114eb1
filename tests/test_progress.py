"""Progress: what is counted, how fast, how long yet."""

from __future__ import annotations

import time

import pytest

from pinsage.progress import Pace, Progress


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (Progress("walks", "items", 0, 850, 0.0), "walks: 0 of 850 items"),
        (
            Progress("walks", "items", 12_500, 3_100_000, 50_000.0),
            "walks: 12.5 k of 3.1 M items, 50.0 k/s, 1 min 02 s left",
        ),
        (
            Progress("reading", "rows", 10**9, 10**10, 10**6),
            "reading: 1.0 G of 10.0 G rows, 1.0 M/s, 2 h 30 min left",
        ),
        (Progress("reading", "rows", 9, 9, 3.0), "reading: 9 of 9 rows, 3/s, 0 s left"),
    ],
)
def test_it_says_how_much_how_fast_and_how_long_yet(progress: Progress, said: str) -> None:
    assert str(progress) == said


def test_nothing_to_do_is_done() -> None:
    assert Progress("walks", "items", 0, 0, 0.0).share == 1.0


def test_beginning_and_end_are_told_and_little_between() -> None:
    told: list[Progress] = []
    pace = Pace(told.append, "walks", "items", 1000)
    for _ in range(1000):
        pace.add(1)
    assert [each.done for each in told] == [0, 1000]
    assert told[-1].rate > 0
    assert told[-1].seconds_left == 0


def test_what_an_earlier_process_did_counts_as_done_and_not_as_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    told: list[Progress] = []
    pace = Pace(told.append, "walks", "items", 100, done=80)
    clock[0] = 2.0
    pace.add(10)
    assert [(each.done, each.rate, each.seconds_left) for each in told] == [
        (80, 0.0, None),
        (90, 5.0, 2.0),
    ]


def test_without_a_listener_counting_goes_on() -> None:
    Pace(None, "walks", "items", 1).add(1)
