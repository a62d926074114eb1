"""Pooling against slow references: loops for the mean, SciPy's Ward for the medoids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, ward

from pinsage.config import ContextsConfig
from pinsage.contexts.pooling import DAY, Histories, Matrix, pool, recency

NUM_ITEMS = 50


def histories_of(sizes: list[int], seed: int) -> Histories:
    rng = np.random.default_rng(seed)
    total = sum(sizes)
    times = [np.sort(rng.integers(0, 30 * DAY, size)) for size in sizes]
    return Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        items=rng.integers(0, NUM_ITEMS, total).astype(np.int32),
        times=np.concatenate([np.empty(0, np.int64), *times]).astype(np.int64),
        weights=rng.integers(0, 4, total).astype(np.float32),
    )


def vectors(seed: int = 0, width: int = 6) -> Matrix:
    drawn = np.random.default_rng(seed).standard_normal((NUM_ITEMS, width)).astype(np.float32)
    unit: Matrix = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return unit


class TestMean:
    @hypothesis_settings(deadline=None)  # the first call compiles
    @given(
        sizes=st.lists(st.integers(0, 8), min_size=1, max_size=6),
        half_life=st.sampled_from([0.0, 0.5, 10.0]),
        by_weight=st.booleans(),
        newest=st.sampled_from([1, 3, 100]),
        seed=st.integers(0, 99),
    )
    def test_equals_the_formula(
        self, sizes: list[int], half_life: float, by_weight: bool, newest: int, seed: int
    ) -> None:
        settings = ContextsConfig(half_life_days=half_life, by_weight=by_weight, newest=newest)
        histories, embeddings = histories_of(sizes, seed), vectors(seed)
        pooled = pool(histories, embeddings, settings)
        expected = {}
        for user in range(len(sizes)):
            entries = range(histories.indptr[user], histories.indptr[user + 1])[-newest:]
            weights = []
            for entry in entries:
                age = (histories.times[entries[-1]] - histories.times[entry]) / DAY
                decay = 0.5 ** (age / half_life) if half_life else 1.0
                weights.append(decay * (histories.weights[entry] if by_weight else 1.0))
            if sum(weights) > 0:
                parts = [w * embeddings[histories.items[e]].astype(float)
                         for w, e in zip(weights, entries, strict=True)]  # fmt: skip
                expected[user] = sum(parts) / sum(weights)
        assert pooled.context.tolist() == list(expected)
        assert pooled.number.tolist() == [0] * len(expected)
        assert pooled.importance.tolist() == [1.0] * len(expected)
        if expected:
            np.testing.assert_allclose(pooled.vectors, np.stack([*expected.values()]), atol=1e-5)

    def test_a_negative_weight_counts_nothing(self) -> None:
        histories = Histories(
            np.array([0, 2, 3]),
            np.array([4, 7, 7], dtype=np.int32),
            np.array([1, 2, 3]),
            np.array([2.0, -9.0, -1.0], dtype=np.float32),
        )
        pooled = pool(histories, vectors(), ContextsConfig(by_weight=True))
        assert pooled.context.tolist() == [0], "nothing of the second user has weight"
        assert pooled.vectors.tolist() == [vectors()[4].tolist()]

    def test_one_half_life_ago_weighs_one_half(self) -> None:
        histories = Histories(
            np.array([0, 2]), np.array([1, 2], dtype=np.int32), np.array([0, 7 * DAY]),
            np.ones(2, dtype=np.float32),
        )  # fmt: skip
        assert recency(histories, ContextsConfig(half_life_days=7)).tolist() == [0.5, 1.0]


def reference_medoids(
    items: list[int], weights: list[float], embeddings: Matrix, most: int, spread: float
) -> list[tuple[int, float]]:
    """Medoid items with their shares, the largest share first, by SciPy's linkage."""
    summed: dict[int, float] = {}
    for item, weight in zip(items, weights, strict=True):
        summed[item] = summed.get(item, 0.0) + weight
    distinct = sorted(item for item, weight in summed.items() if weight > 0)
    points = embeddings[distinct].astype(float)
    labels = np.ones(len(distinct), dtype=int)
    if len(distinct) > 1:
        tree = ward(points)
        count = min(most, int(fcluster(tree, spread, "distance").max()))
        labels = fcluster(tree, count, "maxclust")
    found = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        costs = [sum(float(((points[a] - points[b]) ** 2).sum()) for b in members) for a in members]
        share = sum(summed[distinct[m]] for m in members) / sum(summed[i] for i in distinct)
        found.append((distinct[members[int(np.argmin(costs))]], share))
    return sorted(found, key=lambda each: -each[1])


class TestMedoids:
    @pytest.mark.parametrize("most", [1, 2, 3, 7, 100])
    @pytest.mark.parametrize("spread", [0.0, 0.9, 1.5, 5.0])
    def test_equal_those_of_another_implementation(self, most: int, spread: float) -> None:
        settings = ContextsConfig(
            pool="medoids",
            medoids=most,
            spread=spread,
            by_weight=True,
            half_life_days=9,
            newest=30,
        )
        histories, embeddings = histories_of([0, 1, 2, 3, 11, 40], 5), vectors()
        pooled = pool(histories, embeddings, settings)
        weights = recency(histories, settings)
        row_of = {vector.tobytes(): row for row, vector in enumerate(embeddings)}
        assert set(pooled.context) == {1, 2, 3, 4, 5}
        for user in range(histories.num_contexts):
            span = slice(histories.indptr[user], histories.indptr[user + 1])
            if span.start == span.stop:
                continue
            own = pooled.context == user
            expected = reference_medoids(
                histories.items[span].tolist(), weights[span].tolist(), embeddings, most, spread
            )
            found = [row_of[vector.tobytes()] for vector in pooled.vectors[own]]
            shares = pooled.importance[own]
            assert shares.tolist() == sorted(shares, reverse=True)
            assert pooled.number[own].tolist() == list(range(len(expected)))
            # Of clusters that weigh the same either may be first.
            assert dict(zip(found, shares, strict=True)) == pytest.approx(dict(expected), rel=1e-5)

    def test_two_tastes_are_two_vectors_and_the_mean_lies_between(self) -> None:
        embeddings = np.array([[1, 0], [0.99, 0.14], [0, 1], [0.14, 0.99]], dtype=np.float32)
        histories = Histories(
            np.array([0, 5]), np.array([0, 1, 0, 2, 3], dtype=np.int32), np.arange(5),
            np.ones(5, dtype=np.float32),
        )  # fmt: skip
        pooled = pool(histories, embeddings, ContextsConfig(pool="medoids", spread=0.5))
        assert pooled.vectors.tolist() == [embeddings[0].tolist(), embeddings[2].tolist()]
        np.testing.assert_allclose(pooled.importance, [0.6, 0.4], rtol=1e-6)


@pytest.mark.parametrize("kind", ["mean", "medoids"])
def test_one_thread_in_a_server_gives_the_same_bits(kind: str) -> None:
    settings = ContextsConfig.model_validate({"pool": kind, "half_life_days": 3.0})
    histories = histories_of([3, 0, 17, 40, 1], 11)
    many = pool(histories, vectors(), settings)
    one = pool(histories, vectors(), settings, parallel=False)
    assert many.vectors.tobytes() == one.vectors.tobytes()
    assert many.importance.tobytes() == one.importance.tobytes()
