"""Which items are asked about: the configured ones, or the same spread every night."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.report.queries import choose_queries, spread_over_popularity


def test_configured_ids_come_in_their_order_and_unknown_ones_are_named() -> None:
    chosen = choose_queries(("7", "8", "9"), np.array([5, 4, 3]), ("9", "x", "7"))
    assert chosen.rows == (2, 0)
    assert chosen.unknown == ("x",)


def test_a_small_catalog_is_shown_whole_with_the_popular_first() -> None:
    assert spread_over_popularity(("a", "b", "c"), np.array([1, 5, 1])) == (1, 0, 2)


@settings(deadline=None, max_examples=50)
@given(st.integers(21, 5000), st.integers(0, 1000))
def test_twenty_different_items_from_the_most_popular_to_the_rarest(size: int, seed: int) -> None:
    degree = np.random.default_rng(seed).integers(0, 100, size)
    rows = spread_over_popularity(tuple(map(str, range(size))), degree)
    assert len(set(rows)) == 20
    rank = np.empty(size, dtype=np.int64)
    rank[np.argsort(-degree, kind="stable")] = np.arange(size)
    ranks = rank[list(rows)].tolist()
    assert ranks == sorted(ranks)
    assert ranks[0] == 0 or size > 8000
    assert ranks[-1] >= 0.8 * size  # the last band is the last seventh


def test_most_queries_stay_when_popularity_shifts_a_little() -> None:
    ids = tuple(f"item-{n}" for n in range(2000))
    degree = np.arange(2000, 0, -1)
    shifted = degree + np.random.default_rng(1).integers(0, 3, 2000)
    tonight, tomorrow = (spread_over_popularity(ids, each) for each in (degree, shifted))
    assert len(set(tonight) & set(tomorrow)) >= 16


def test_the_order_of_the_catalog_does_not_change_the_queries() -> None:
    ids = [f"item-{n}" for n in range(500)]
    degree = np.random.default_rng(2).permutation(500)  # all different, so that no rank is tied
    there = {ids[row] for row in spread_over_popularity(ids, degree)}
    turned = spread_over_popularity(ids[::-1], degree[::-1])
    assert {ids[::-1][row] for row in turned} == there


@pytest.mark.parametrize("size", [100, 8000, 100_000])
def test_the_long_tail_and_the_head_both_have_their_share(size: int) -> None:
    degree = np.arange(size, 0, -1)
    ranks = np.array(spread_over_popularity(tuple(map(str, range(size))), degree)) / size
    assert 4 <= (ranks < 0.1).sum() <= 12
    assert (ranks > 0.5).sum() >= 3
