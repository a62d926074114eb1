from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.errors import ConfigError
from pinsage.evaluation.metrics import (
    fit_block,
    headline_k,
    hit_rate,
    mean_reciprocal_rank,
    reciprocal_ranks,
    usable_ks,
)

halves = st.lists(st.integers(2, 4000).map(lambda twice: twice / 2), min_size=1, max_size=50)


@given(halves, st.integers(1, 2000))
def test_hit_rate_is_the_share_of_ranks_up_to_k(ranks: list[float], k: int) -> None:
    expected = sum(1 for rank in ranks if rank <= k) / len(ranks)
    assert hit_rate(np.array(ranks), k) == pytest.approx(expected)


@given(halves, st.integers(2, 150))
def test_mrr_is_the_mean_of_one_over_the_block_of_the_rank(ranks: list[float], block: int) -> None:
    plain = sum(1 / rank for rank in ranks) / len(ranks)
    scaled = sum(1 / math.ceil(rank / block) for rank in ranks) / len(ranks)
    assert mean_reciprocal_rank(np.array(ranks)) == pytest.approx(plain)
    assert mean_reciprocal_rank(np.array(ranks), block) == pytest.approx(scaled)


def test_scaled_mrr_of_rank_101_is_one_half() -> None:
    assert mean_reciprocal_rank(np.array([101.0]), 100) == 0.5
    assert mean_reciprocal_rank(np.array([100.0]), 100) == 1.0


def test_ranks_1000_and_2000_differ_noticeably_in_the_papers_scale() -> None:
    assert reciprocal_ranks(np.array([1000.0, 2000.0]), 100).tolist() == [0.1, 0.05]


def test_nothing_to_rank_gives_nan() -> None:
    assert math.isnan(hit_rate(np.array([]), 10))
    assert math.isnan(mean_reciprocal_rank(np.array([])))


@pytest.mark.parametrize(
    ("num_items", "block"),
    [(1, 1), (500, 1), (501, 2), (1_682, 4), (50_000, 100), (5_000_000, 100)],
)
def test_block_is_a_five_hundredth_of_the_catalog_and_at_most_the_papers(
    num_items: int, block: int
) -> None:
    assert fit_block(num_items) == block


def test_a_block_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mrr_block.*at least 1.*got 0"):
        reciprocal_ranks(np.array([1.0]), 0)


def test_cutoffs_as_large_as_the_catalog_are_dropped_with_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert usable_ks((500, 10, 100, 10), 100) == (10,)
    assert "K = 100, 500: left out" in caplog.text


def test_a_catalog_smaller_than_every_cutoff_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.ks.*catalog of 5 items.*\[10, 50\]"):
        usable_ks((10, 50), 5)


@pytest.mark.parametrize(("ks", "k"), [((10, 50, 100, 500), 100), ((5, 20), 20), ((200, 500), 200)])
def test_headline_is_the_largest_cutoff_up_to_100(ks: tuple[int, ...], k: int) -> None:
    assert headline_k(ks) == k
