"""Relative changes against a slow bootstrap, on ranks that one can count."""

from __future__ import annotations

import numpy as np
import pytest

from pinsage.config import GateConfig
from pinsage.evaluation.bootstrap import draw_users
from pinsage.evaluation.slices import ALL, Part
from pinsage.promotion.comparison import changes, values_of

POLICY = GateConfig(resamples=200, confidence=0.9)
COLD = Part("support", "cold")
RNG = np.random.default_rng(3)
USERS = np.sort(RNG.integers(0, 25, 300)).astype(np.int32)
OLD = RNG.integers(1, 40, 300).astype(np.float64)
NEW = np.where(RNG.random(300) < 0.3, RNG.integers(1, 40, 300), OLD).astype(np.float64)
MASKS = {ALL: np.ones(300, dtype=np.bool_), COLD: RNG.random(300) < 0.4}


@pytest.mark.parametrize("metric", ["hit_rate_10", "mrr"])
@pytest.mark.parametrize("part", [ALL, COLD])
def test_equals_resampling_the_users_one_by_one(part: Part, metric: str) -> None:
    found = changes(NEW, OLD, USERS, MASKS, ["mrr", "hit_rate_10"], POLICY, seed=5)[part, metric]
    assert found is not None

    def of(rank: float) -> float:
        return 1.0 / rank if metric == "mrr" else float(rank <= 10)

    names = np.unique(USERS)
    drawn = []
    for users in draw_users(len(names), 200, 5):
        sums = [0.0, 0.0]
        for user in names[users]:
            for row in np.flatnonzero((user == USERS) & MASKS[part]):
                sums[0] += of(NEW[row])
                sums[1] += of(OLD[row])
        drawn.append(sums[0] / sums[1] - 1)
    rows = np.flatnonzero(MASKS[part])
    new, old = (np.mean([of(ranks[row]) for row in rows]) for ranks in (NEW, OLD))
    assert [found.new, found.old] == pytest.approx([new, old])
    assert found.value == pytest.approx(new / old - 1)
    low, high = np.quantile(drawn, [0.05, 0.95])
    assert [found.low, found.high] == pytest.approx([low, high])
    assert found.error == pytest.approx(np.std(drawn))
    assert (found.num_pairs, found.num_users) == (len(rows), len(np.unique(USERS[rows])))


def test_the_same_ranks_are_exactly_no_change() -> None:
    found = changes(OLD, OLD, USERS, MASKS, ["hit_rate_10"], POLICY, seed=5)[ALL, "hit_rate_10"]
    assert found is not None
    assert (found.value, found.low, found.high, found.error) == (0, 0, 0, 0)


def test_nothing_is_relative_to_nothing() -> None:
    missed = np.full(300, 99.0)
    found = changes(NEW, missed, USERS, MASKS, ["hit_rate_10", "mrr"], POLICY, seed=5)
    assert found[ALL, "hit_rate_10"] is None
    assert found[ALL, "mrr"] is not None


def test_values_of_a_metric() -> None:
    ranks = np.array([1.0, 10.0, 10.5])
    assert values_of("hit_rate_10", ranks).tolist() == [1, 1, 0]
    assert values_of("mrr", ranks).tolist() == [1, 0.1, 1 / 10.5]
