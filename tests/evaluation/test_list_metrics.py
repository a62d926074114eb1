"""Coverage, Gini, novelty and intra-list distance equal their definitions, spelled out."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pinsage.evaluation import metrics
from pinsage.evaluation.metrics import coverage, gini, intra_list_distance, novelty

counts = st.lists(st.integers(0, 50), min_size=1, max_size=30)


@given(counts.filter(any))
def test_gini_is_the_mean_absolute_difference_over_twice_the_mean(shown: list[int]) -> None:
    size = len(shown)
    gaps = sum(abs(a - b) for a in shown for b in shown) / size**2
    assert gini(np.array(shown)) == pytest.approx(gaps / (2 * sum(shown) / size))


def test_gini_of_one_item_shown_of_four_is_three_quarters() -> None:
    assert gini(np.array([0, 8, 0, 0])) == 0.75
    assert gini(np.array([2, 2, 2, 2])) == 0.0
    assert gini(np.array([0, 0])) == 0.0


@given(counts)
def test_coverage_is_the_share_of_items_shown_at_all(shown: list[int]) -> None:
    assert coverage(np.array(shown)) == pytest.approx(sum(s > 0 for s in shown) / len(shown))


def test_an_item_in_half_of_the_contexts_tells_one_bit() -> None:
    # 3 of 7 contexts, with the one added 4 of 8; an item nobody had: 1 of 8, three bits.
    degree = np.array([3, 0])
    assert novelty(np.array([[0]], dtype=np.int32), degree, 7) == 1.0
    assert novelty(np.array([[1, 0]], dtype=np.int32), degree, 7) == 2.0


@given(
    arrays(np.int32, (3, 4), elements=st.integers(0, 5)),
    arrays(np.int64, 6, elements=st.integers(0, 20)),
)
def test_novelty_is_the_mean_self_information(
    lists: npt.NDArray[np.int32], degree: npt.NDArray[np.int64]
) -> None:
    told = [-math.log2((degree[item] + 1) / 21) for top in lists.tolist() for item in top]
    assert novelty(lists, degree, 20) == pytest.approx(sum(told) / len(told))


def unlikeness(a: list[float], b: list[float]) -> float:
    norms = math.hypot(*a) * math.hypot(*b)
    return 1.0 if norms == 0 else 1.0 - sum(x * y for x, y in zip(a, b, strict=True)) / norms


@given(
    arrays(np.int32, (3, 4), elements=st.integers(0, 5)),
    arrays(np.float32, (6, 3), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0])),
)
@settings(deadline=None)
def test_intra_list_distance_is_the_mean_over_pairs_of_one_minus_cosine(
    lists: npt.NDArray[np.int32], vectors: npt.NDArray[np.float32]
) -> None:
    rows = vectors.astype(float).tolist()
    apart = [
        unlikeness(rows[a], rows[b]) for top in lists.tolist() for a, b in combinations(top, 2)
    ]
    expected = sum(apart) / len(apart)
    assert intra_list_distance(lists, vectors) == pytest.approx(expected, abs=1e-6)


def test_blocks_of_lists_change_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((30, 4), dtype=np.float32)
    lists = rng.integers(0, 30, size=(50, 5)).astype(np.int32)
    whole = intra_list_distance(lists, vectors)
    monkeypatch.setattr(metrics.diversity, "_BLOCK", 7)
    assert intra_list_distance(lists, vectors) == pytest.approx(whole, abs=1e-12)


def test_a_list_of_one_has_no_distance() -> None:
    assert math.isnan(intra_list_distance(np.zeros((2, 1), np.int32), np.ones((1, 2), np.float32)))
    assert math.isnan(novelty(np.empty((0, 10), np.int32), np.array([1]), 3))
