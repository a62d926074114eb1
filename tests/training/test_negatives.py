"""Negatives: who may be one, how likely each is drawn, and that draws depend on nothing else."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.config import NegativesConfig
from pinsage.data.pairs import Pairs
from pinsage.training.negatives import (
    HardNegatives,
    PositiveSets,
    SharedNegatives,
    inclusion_chances,
    not_the_pair,
)

NO_POSITIVES = np.empty(0, dtype=np.int32)


def shared(
    degree: list[int], positives: list[int] | None = None, **config: object
) -> SharedNegatives:
    rows = np.array(positives or [0], dtype=np.int32)
    return SharedNegatives.of(np.array(degree), rows, NegativesConfig(**config), seed=1)


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1, max_size=20),
    queries=st.lists(st.integers(0, 7), max_size=5),
    negatives=st.lists(st.integers(0, 7), max_size=5, unique=True),
)
def test_positive_sets_equal_a_set_of_pairs(
    pairs: list[tuple[int, int]], queries: list[int], negatives: list[int]
) -> None:
    rows = np.array(pairs, dtype=np.int32)
    sets = PositiveSets(Pairs(rows[:, 0], rows[:, 0], rows[:, 1]), 8)
    for _ in range(2):  # the second time shows that the first left nothing behind
        mask = sets.allowed(np.array(queries, dtype=np.int64), np.array(negatives, dtype=np.int64))
        expected = [[q != n and (q, n) not in set(pairs) for n in negatives] for q in queries]
        assert mask.tolist() == expected


def test_not_the_pair_leaves_out_the_two_items_alone() -> None:
    query, positive, negative = np.array([1, 2]), np.array([2, 3]), np.array([1, 2, 3, 4])
    expected = [[False, False, True, True], [True, False, False, True]]
    assert not_the_pair(query, positive, negative).tolist() == expected


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_negatives_are_distinct_items_with_an_interaction(power: float) -> None:
    negatives = shared([0, 5, 1, 0, 9, 2, 2], shared=3, power=power)
    for first in range(20):
        drawn = negatives.draw(0, first, NO_POSITIVES).tolist()
        assert len(set(drawn)) == 3
        assert set(drawn) <= {1, 2, 4, 5, 6}


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_there_are_never_more_negatives_than_candidates(power: float) -> None:
    negatives = shared([0, 5, 1, 2], shared=500, power=power)
    assert sorted(negatives.draw(0, 0, NO_POSITIVES).tolist()) == [1, 2, 3]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_items_are_drawn_as_often_as_their_chance_says(power: float) -> None:
    degree = [0, 1, 1, 2, 4, 4, 9, 16, 25, 100, 3]
    negatives = shared(degree, shared=4, power=power)
    draws = [negatives.draw(0, first, NO_POSITIVES) for first in range(3000)]
    share = np.bincount(np.concatenate(draws), minlength=len(degree)) / 3000
    chance = np.zeros(len(degree))
    chance[negatives.candidates] = negatives.chance
    assert chance.sum() == pytest.approx(4)
    assert np.abs(share - chance).max() < 5 * math.sqrt(0.25 / 3000)
    logs = negatives.log_chance(len(degree), 8)
    np.testing.assert_allclose(np.exp(logs[1:]), chance[1:], rtol=1e-6)
    assert logs[0] == 0


@settings(max_examples=60, deadline=None)
@given(weight=st.lists(st.floats(0.01, 100), min_size=1, max_size=12), size=st.integers(0, 12))
def test_chances_sum_to_the_size_and_keep_the_proportions(weight: list[float], size: int) -> None:
    size = min(size, len(weight))
    chance = inclusion_chances(np.array(weight), size)
    assert chance.sum() == pytest.approx(size)
    assert chance.max() <= 1
    below = chance < 1
    ratio = chance[below] / np.array(weight)[below]
    assert ratio == pytest.approx(ratio[:1].repeat(len(ratio)))
    assert size == 0 or all(
        w >= max(np.array(weight)[below], default=0) for w in np.array(weight)[~below]
    )


def test_positives_of_other_pairs_join_the_drawn_once() -> None:
    negatives = shared([1] * 10, positives=[7, 7, 8, 9], shared=2, in_batch=True)
    step = np.array([8, 7, 8], dtype=np.int32)
    drawn = negatives.draw(0, 3, step).tolist()
    alone = shared([1] * 10, shared=2).draw(0, 3, NO_POSITIVES).tolist()
    assert drawn[:2] == alone
    assert sorted(drawn[2:]) == sorted({7, 8} - set(alone))


def test_the_chance_of_being_there_either_way_is_that_of_two_independent_draws() -> None:
    negatives = shared([1] * 10, positives=[7, 7, 8, 9], shared=2, in_batch=True)
    chance = np.exp(negatives.log_chance(10, 3))
    assert chance[0] == pytest.approx(0.2)
    assert chance[7] == pytest.approx(1 - 0.8 * 0.5**3)  # half of the pairs have it as positive
    assert chance[8] == pytest.approx(1 - 0.8 * 0.75**3)


@pytest.mark.parametrize("power", [0.0, 0.75])
def test_a_draw_is_a_function_of_seed_epoch_and_first_pair(power: float) -> None:
    config = NegativesConfig(shared=5, power=power)

    def draw(seed: int, epoch: int, first: int) -> tuple[int, ...]:
        negatives = SharedNegatives.of(np.arange(1, 60), np.zeros(1, np.int32), config, seed)
        negatives.draw(3, 99, NO_POSITIVES)  # an earlier draw must not matter
        return tuple(negatives.draw(epoch, first, NO_POSITIVES).tolist())

    settings = [(seed, epoch, first) for seed in (1, 2) for epoch in (0, 1) for first in (0, 32)]
    draws = [draw(*setting) for setting in settings]
    assert draws == [draw(*setting) for setting in settings]
    assert len(set(draws)) == len(settings)


def test_epoch_n_takes_n_less_one_hard_negatives_up_to_the_most() -> None:
    rows = np.arange(40, dtype=np.int32).reshape(4, 10)
    hard = HardNegatives(rows, most=3, curriculum=True, seed=1)
    query = np.array([0, 2], dtype=np.int32)
    assert [hard.draw(epoch, 0, query).shape for epoch in range(5)] == [
        (2, 0), (2, 1), (2, 2), (2, 3), (2, 3),
    ]  # fmt: skip
    at_once = HardNegatives(rows, most=3, curriculum=False, seed=1)
    assert at_once.draw(0, 0, query).shape == (2, 3)


def test_hard_negatives_are_of_the_querys_own_window_without_repeats() -> None:
    rows = np.array([[1, 2, 3, -1], [7, -1, -1, -1], [-1, -1, -1, -1]], dtype=np.int32)
    hard = HardNegatives(rows, most=3, curriculum=False, seed=1)
    for first in range(10):
        drawn = hard.draw(0, first, np.array([0, 1, 2, 0], dtype=np.int32)).tolist()
        assert sorted(drawn[0]) == sorted(drawn[3]) == [1, 2, 3]
        assert drawn[1:3] == [[7, -1, -1], [-1, -1, -1]]


def test_hard_negatives_rank_in_the_window_and_are_no_positives(town: SimpleNamespace) -> None:
    positives = PositiveSets(town.pairs, town.table.num_items)
    config = NegativesConfig(hard=2, hard_from=2, hard_to=9, hard_walks=4000)
    hard = HardNegatives.of(town.graph, positives, config, seed=5)
    again = HardNegatives.of(town.graph, positives, config, seed=5)
    np.testing.assert_array_equal(hard.rows, again.rows)
    pairs = set(zip(town.pairs.query_row.tolist(), town.pairs.positive_row.tolist(), strict=True))
    found = 0
    for query, row in enumerate(hard.rows.tolist()):
        kept = [item for item in row if item >= 0]
        assert len(kept) == len(set(kept)) <= 7
        assert query not in kept
        assert not any((query, item) in pairs for item in kept)
        assert all(item // 12 == query // 12 for item in kept), "walks stay in a quarter"
        found += len(kept)
    assert found > 50
    assert (hard.rows[48:] == -1).all(), "nobody visited the last two"


def test_a_share_of_the_catalog_is_the_same_window_as_its_ranks(town: SimpleNamespace) -> None:
    positives = PositiveSets(town.pairs, town.table.num_items)
    by_share = NegativesConfig(hard=1, hard_from=0.04, hard_to=0.18)  # of 50 items: 2 to 9
    by_rank = NegativesConfig(hard=1, hard_from=2, hard_to=9)
    rows = [HardNegatives.of(town.graph, positives, c, seed=5).rows for c in (by_share, by_rank)]
    np.testing.assert_array_equal(rows[0], rows[1])


def test_positive_sets_know_nothing_of_other_queries() -> None:
    sets = PositiveSets(Pairs(*np.array([[0, 0], [1, 2], [3, 4]], dtype=np.int32)), 5)
    assert sets.allowed(np.array([1, 2]), np.array([3, 4])).tolist() == [
        [False, True],
        [True, False],
    ]
