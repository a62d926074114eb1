from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.evaluation import bootstrap
from pinsage.evaluation.bootstrap import Clusters, Interval, Ratios, draw_users


def one_metric(user: list[int], values: list[float]) -> tuple[Clusters, Ratios]:
    clusters = Clusters.of(np.array(user, dtype=np.int32))
    sums = clusters.sums(np.array(values))[:, None]
    counts = clusters.sums(np.ones(len(user)))[:, None]
    return clusters, Ratios(sums, counts, np.array([0]))


@given(
    st.lists(st.tuples(st.integers(3, 9), st.floats(0, 1)), min_size=1, max_size=40),
    st.integers(0, 2**31 - 1),
)
@settings(max_examples=30, deadline=None)
def test_replicates_equal_a_plain_loop_over_the_same_users(
    pairs: list[tuple[int, float]], seed: int
) -> None:
    user, values = [u for u, _ in pairs], [v for _, v in pairs]
    clusters, ratios = one_metric(user, values)
    expected = []
    for drawn in draw_users(clusters.num, 20, seed):
        picked = [
            values[pair] for d in drawn for pair in range(len(user)) if clusters.index[pair] == d
        ]
        expected.append(sum(picked) / len(picked))
    assert ratios.bootstrap(20, seed)[:, 0] == pytest.approx(expected)
    assert ratios.estimate()[0] == pytest.approx(sum(values) / len(values))


def test_spread_of_the_replicates_is_the_standard_error_of_a_clustered_ratio() -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(1, 30, 400)
    user = np.repeat(np.arange(400), size)
    # A user's own level makes the pairs of one user alike, as they are in practice.
    values = (rng.random(len(user)) < np.repeat(rng.random(400), size)).astype(float)
    clusters, ratios = one_metric(user.tolist(), values.tolist())
    residual = clusters.sums(values) - size * values.mean()
    # Linearised variance of a ratio estimator over clusters (Cochran 1977, section 6.3).
    expected = math.sqrt((residual**2).sum()) / len(values)
    naive = values.std() / math.sqrt(len(values))
    spread = ratios.bootstrap(3000, 1)[:, 0].std()
    assert spread == pytest.approx(expected, rel=0.06)
    assert spread > 2 * naive


def test_the_seed_decides_and_the_block_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, ratios = one_metric([1, 1, 2, 3, 3, 4], [0, 1, 1, 0, 0, 1])
    whole = ratios.bootstrap(50, 7)
    assert np.array_equal(whole, ratios.bootstrap(50, 7))
    assert not np.array_equal(whole, ratios.bootstrap(50, 8))
    monkeypatch.setattr(bootstrap, "_BLOCK_WEIGHTS", 12)
    assert np.array_equal(whole, ratios.bootstrap(50, 7))


def test_a_resample_without_the_slice_is_left_out_of_its_interval() -> None:
    sums = np.array([[1.0], [0.0]])
    counts = np.array([[2.0], [0.0]])  # only the first user has pairs of the slice
    replicates = Ratios(sums, counts, np.array([0])).bootstrap(200, 3)[:, 0]
    assert np.isnan(replicates).any()
    assert Interval.of(0.5, replicates, 0.95) == Interval(0.5, 0.5, 0.5)


def test_an_empty_slice_has_no_interval() -> None:
    nothing = Ratios(np.zeros((3, 1)), np.zeros((3, 1)), np.array([0]))
    interval = Interval.of(float(nothing.estimate()[0]), nothing.bootstrap(10, 0)[:, 0], 0.95)
    assert all(math.isnan(number) for number in (interval.value, interval.low, interval.high))


def test_interval_bounds_are_the_percentiles() -> None:
    interval = Interval.of(50.0, np.arange(101.0), 0.9)
    assert (interval.low, interval.high) == pytest.approx((5.0, 95.0))


def test_columns_of_one_call_share_their_resamples() -> None:
    _, ratios = one_metric([1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    shifted = Ratios(
        np.concatenate([ratios.sums, ratios.sums + 0.25], axis=1), ratios.counts, np.array([0, 0])
    ).bootstrap(30, 5)
    assert shifted[:, 1] - shifted[:, 0] == pytest.approx(np.full(30, 0.25))


def test_many_users_are_drawn_in_groups_with_the_same_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(2000), rng.integers(1, 8, 2000))
    values = (rng.random(len(user)) < rng.random(2000)[user]).astype(float)
    _, alone = one_metric(user.tolist(), values.tolist())
    monkeypatch.setattr(bootstrap, "MOST_CLUSTERS", 200)
    clusters, grouped = one_metric(user.tolist(), values.tolist())
    assert (clusters.num, clusters.num_users) == (200, 2000)
    assert np.bincount(clusters.index[np.unique(user, return_index=True)[1]]).tolist() == [10] * 200
    assert grouped.estimate() == pytest.approx(alone.estimate())
    spread = alone.bootstrap(2000, 1)[:, 0].std()
    assert grouped.bootstrap(2000, 1)[:, 0].std() == pytest.approx(spread, rel=0.15)


def test_the_pairs_of_a_user_stay_together_in_a_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "MOST_CLUSTERS", 3)
    user = np.repeat(np.arange(10, dtype=np.int32), 4)
    clusters = Clusters.of(user)
    assert all(len(set(clusters.index[user == each])) == 1 for each in range(10))
