from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.evaluation.metrics.ndcg import ndcg


def gain(found: list[bool]) -> float:
    return sum(1 / math.log2(rank + 1) for rank, hit in enumerate(found, start=1) if hit)


def value(found: list[bool], num_relevant: int) -> float:
    return float(ndcg(np.array([found]), np.array([num_relevant]))[0])


def test_the_only_relevant_item_on_the_third_place_gives_one_half() -> None:
    assert value([False, False, True, False], 1) == pytest.approx(0.5)  # 1 / log2(4)


def test_relevant_items_first_give_one() -> None:
    assert value([True, True, False, False], 2) == pytest.approx(1.0)


def test_a_list_of_relevant_items_alone_gives_one_although_more_are_relevant() -> None:
    assert value([True, True], 30) == pytest.approx(1.0)


def test_a_user_with_nothing_to_find_has_no_ndcg() -> None:
    assert math.isnan(value([False, False], 0))


@given(st.lists(st.booleans(), min_size=1, max_size=6), st.integers(0, 3))
def test_ndcg_is_the_gain_over_the_best_gain_of_any_order(found: list[bool], more: int) -> None:
    relevant = sum(found) + more
    if relevant == 0:
        return
    places = range(len(found))
    held = min(relevant, len(found))
    best = max(gain([p in filled for p in places]) for filled in combinations(places, held))
    assert value(found, relevant) == pytest.approx(gain(found) / best)


@given(st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=20))
def test_users_do_not_touch_one_another(lists: list[list[bool]]) -> None:
    relevant = np.array([sum(found) + 1 for found in lists])
    together = ndcg(np.array(lists), relevant)
    alone = [value(found, count) for found, count in zip(lists, relevant.tolist(), strict=True)]
    assert together.tolist() == pytest.approx(alone)
