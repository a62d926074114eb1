from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.evaluation.metrics.recall import recall


def values(lists: list[list[bool]], num_relevant: list[int]) -> list[float]:
    return [float(value) for value in recall(np.array(lists), np.array(num_relevant))]


def test_two_of_four_relevant_items_in_the_list_are_one_half() -> None:
    assert values([[True, False, True]], [4]) == [0.5]


def test_a_full_list_of_fewer_places_than_relevant_items_stays_below_one() -> None:
    assert values([[True, True]], [8]) == [0.25]


def test_where_an_item_stands_in_the_list_changes_nothing() -> None:
    assert values([[True, False, False], [False, False, True]], [2, 2]) == [0.5, 0.5]


def test_a_user_with_nothing_to_find_has_no_recall() -> None:
    found = recall(np.zeros((2, 3), dtype=np.bool_), np.array([0, 1]))
    assert np.isnan(found[0])
    assert found[1] == 0


@given(st.data())
def test_recall_is_the_share_of_the_users_items_that_are_listed(data: st.DataObject) -> None:
    items = st.integers(0, 12)
    listed = data.draw(st.lists(items, min_size=1, max_size=10, unique=True))
    wanted = data.draw(st.sets(items, min_size=1))
    found = np.array([[item in wanted for item in listed]])
    expected = len(wanted & set(listed)) / len(wanted)
    assert recall(found, np.array([len(wanted)]))[0] == pytest.approx(expected)
