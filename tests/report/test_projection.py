"""The map does not change when the space is turned, and says how much it shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.report.projection import project


def cloud(seed: int, size: int = 200) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    spread = np.array([4.0, 2.0, 1.0, 0.5])
    vectors: npt.NDArray[np.float32] = rng.standard_normal((size, 4)).astype(np.float32) * spread
    return vectors.astype(np.float32)


def degrees(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    lean: npt.NDArray[np.float32] = vectors[:, 0] + vectors[:, 1]
    degree: npt.NDArray[np.int64] = np.exp(lean - lean.min()).astype(np.int64)
    return degree


def test_points_on_a_line_lie_on_the_first_axis_with_the_popular_end_at_the_right() -> None:
    vectors = np.outer(np.array([0.0, 1.0, 2.0, 3.0]), [3.0, 4.0]).astype(np.float32)
    seen = project(vectors, np.array([9, 3, 1, 0]), most=10, seed=1)
    assert seen.points[:, 0].tolist() == [1.0, 0.3333, -0.3333, -1.0]
    assert np.abs(seen.points[:, 1]).max() < 1e-3
    assert seen.explained == pytest.approx((1.0, 0.0))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_a_turned_or_mirrored_space_gives_the_same_map(seed: int) -> None:
    vectors = cloud(1)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0]
    before = project(vectors, degrees(vectors), most=500, seed=3)
    after = project((vectors @ turn).astype(np.float32), degrees(vectors), most=500, seed=3)
    assert np.allclose(before.points, after.points, atol=2e-4)
    assert before.explained == pytest.approx(after.explained, abs=1e-5)


def test_popular_items_lie_to_the_right_and_above_on_balance() -> None:
    vectors = cloud(5)
    degree = degrees(vectors)
    seen = project(vectors, degree, most=500, seed=3)
    popularity = np.log1p(degree) - np.log1p(degree).mean()
    assert (popularity @ seen.points > 0).all()


def test_the_shares_are_those_of_the_variance() -> None:
    vectors = cloud(2, size=50)
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    expected = variances[:2] / variances.sum()
    assert project(vectors, degrees(vectors), most=10, seed=1).explained == pytest.approx(expected)


def test_equally_popular_items_have_a_fixed_sign_too() -> None:
    vectors = cloud(3)
    same = np.ones(len(vectors), dtype=np.int64)
    there, mirrored = (project(each, same, most=500, seed=1) for each in (vectors, -vectors))
    # Mirrored, the farthest point is another one's place; each map has its farthest at the right.
    for seen in (there, mirrored):
        farthest = seen.points[np.abs(seen.points).argmax(axis=0), [0, 1]]
        assert (farthest > 0).all()


def test_the_seed_draws_which_items_are_shown_in_the_order_of_their_rows() -> None:
    vectors = cloud(4)
    seen = project(vectors, degrees(vectors), most=20, seed=1)
    assert len(seen.rows) == len(seen.points) == 20
    assert (np.diff(seen.rows) > 0).all()
    assert seen.rows.tolist() != project(vectors, degrees(vectors), most=20, seed=2).rows.tolist()


def test_equal_vectors_and_one_dimension_are_a_map_too() -> None:
    same = project(np.ones((5, 3), dtype=np.float32), np.arange(5), most=10, seed=1)
    assert not same.points.any()
    assert same.explained == (0.0, 0.0)
    line = project(np.arange(4, dtype=np.float32)[:, None], np.arange(4), most=10, seed=1)
    assert line.points[:, 0].tolist() == [-1.0, -0.3333, 0.3333, 1.0]
    assert not line.points[:, 1].any()
