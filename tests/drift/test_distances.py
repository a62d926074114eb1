"""The population stability index, by hand and by its properties."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.drift.distances import aligned, binned, deciles, psi

counts = st.lists(st.integers(0, 500), min_size=3, max_size=3).map(np.array)


def test_psi_of_two_bins_by_hand() -> None:
    # With half a count more each: .75 and .25 against .25 and .75; (.5 ln 3) + (−.5 ln 1/3) = ln 3
    assert psi(np.array([1, 0]), np.array([0, 1])) == pytest.approx(log(3))


def test_psi_equals_the_sum_over_bins() -> None:
    now, before = [30, 50, 20], [10, 60, 30]
    by_hand = 0.0
    for n, b in zip(now, before, strict=True):
        p, q = (n + 0.5) / 101.5, (b + 0.5) / 101.5
        by_hand += (p - q) * log(p / q)
    assert psi(np.array(now), np.array(before)) == pytest.approx(by_hand)


@given(counts, counts)
def test_psi_is_symmetric_and_never_below_zero(
    now: np.ndarray[tuple[int], np.dtype[np.int64]],
    before: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    assert psi(now, before) == pytest.approx(psi(before, now))
    assert psi(now, before) >= 0
    assert psi(now, now) == 0


def test_a_column_lies_in_its_own_deciles_evenly() -> None:
    values = np.arange(1000.0)
    assert binned(values, deciles(values)).tolist() == [100] * 10


def test_equal_deciles_are_one_and_missing_values_are_nowhere() -> None:
    values = np.array([1.0] * 98 + [2.0, np.nan])
    assert deciles(values).tolist() == [1.0]
    assert binned(values, deciles(values)).tolist() == [98, 1]
    assert len(deciles(np.array([np.nan]))) == 0


def test_values_are_matched_by_name() -> None:
    now, before = aligned({"b": 2, "c": 3}, {"a": 1, "b": 5})
    assert (now.tolist(), before.tolist()) == ([0, 2, 3], [1, 5, 0])
