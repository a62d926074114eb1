"""Cosines of random pairs and their kurtosis, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.report.cosines import Cosines, excess_kurtosis, reading, sample_cosines


def test_kurtosis_of_two_equal_points_is_minus_two() -> None:
    # Values ±1: variance 1, fourth moment 1, so 1 / 1² − 3.
    assert excess_kurtosis(np.array([-1.0, 1.0, -1.0, 1.0])) == -2.0


def test_kurtosis_of_one_in_eight_is_by_hand() -> None:
    # Seven 0 and one 8: mean 1; variance (7·1 + 49) / 8 = 7; fourth moment (7·1 + 7⁴) / 8 = 301.
    assert excess_kurtosis(np.array([0.0] * 7 + [8.0])) == pytest.approx(301 / 49 - 3)


def test_kurtosis_of_a_normal_sample_is_near_zero_and_of_a_peaked_one_large() -> None:
    rng = np.random.default_rng(1)
    assert abs(excess_kurtosis(rng.standard_normal(200_000))) < 0.05
    assert excess_kurtosis(rng.laplace(size=200_000)) == pytest.approx(3.0, abs=0.3)


def test_kurtosis_of_equal_values_does_not_exist() -> None:
    assert math.isnan(excess_kurtosis(np.full(100, 0.3)))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=40),
    st.floats(0.1, 10),
    st.floats(-2, 2),
)
def test_kurtosis_does_not_change_with_scale_and_shift(
    values: list[float], scale: float, shift: float
) -> None:
    sample = np.array(values)
    if np.ptp(sample) > 1e-3:
        moved = excess_kurtosis(scale * sample + shift)
        assert moved == pytest.approx(excess_kurtosis(sample), rel=1e-6, abs=1e-6)


def test_pairs_are_of_different_items_and_have_the_cosine_of_numpy() -> None:
    vectors = np.eye(3, dtype=np.float32)
    assert np.array_equal(sample_cosines(vectors, 1000, seed=1), np.zeros(1000))
    two = np.array([[1.0, 0.0], [3.0, 4.0]], dtype=np.float32)
    assert np.allclose(sample_cosines(two, 50, seed=1), 0.6)


def test_every_item_is_drawn_about_equally_often() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    # Of the six pairs, two have cosine 1.
    assert sample_cosines(vectors, 60_000, seed=3).mean() == pytest.approx(1 / 3, abs=0.01)


def test_a_vector_of_zeros_has_cosine_zero() -> None:
    vectors = np.array([[0.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    assert np.array_equal(sample_cosines(vectors, 10, seed=1), np.zeros(10))


def test_the_seed_decides_and_every_pair_is_counted_once() -> None:
    vectors = np.random.default_rng(2).standard_normal((50, 4)).astype(np.float32)
    one, same, other = (Cosines.measure(vectors, seed, 20_000) for seed in (7, 7, 8))
    assert np.array_equal(one.counts, same.counts)
    assert one.kurtosis == same.kurtosis
    assert one.kurtosis != other.kurtosis
    assert one.counts.sum() == one.num_pairs == 20_000


def distribution(kurtosis: float, mean: float = 0.1) -> Cosines:
    return Cosines(np.zeros(80, dtype=np.int64), 100, mean, 0.2, kurtosis)


@pytest.mark.parametrize(
    ("kurtosis", "told"),
    [
        (-0.4, "Even flatter than a normal curve, similarities are spread widely"),
        (0.43, "Like the paper’s PinSage, similarities are spread widely"),
        (1.8, "more bunched than the paper’s PinSage"),
        (9.0, "bunched more tightly than in any embedding of the paper"),
    ],
)
def test_the_reading_follows_the_kurtosis(kurtosis: float, told: str) -> None:
    text = reading(distribution(kurtosis))
    assert told in text
    assert text.endswith("cosine of 0.10 on average, mostly between −0.10 and 0.30.")


def test_a_collapse_is_called_one_whatever_its_kurtosis() -> None:
    assert "close to collapse" in reading(distribution(0.4, mean=0.97))
    assert "has collapsed" in reading(distribution(math.nan, mean=1.0))
