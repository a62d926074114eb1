"""Slices are what they say: counted by hand, whole where they should be, named where they fail."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.config import DataConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError
from pinsage.evaluation.slices import (
    ALL,
    POPULARITY,
    SUPPORT,
    TIME,
    Part,
    categories_of,
    parts_of,
    popularity_tenths,
    slice_column,
    support,
    time_edges,
    time_fifths,
)


def data_config(features: Mapping[str, str]) -> DataConfig:
    tree = {"interactions": {"path": "x"}, "items": {"path": "y", "features": features}}
    return DataConfig.model_validate(tree)


def pairs_of(positive: list[int], time: list[int]) -> Pairs:
    rows = np.array(positive, dtype=np.int32)
    return Pairs(rows * 0, rows * 0, rows, np.array(time, dtype=np.int64))


def test_support_cuts_at_ten_and_at_one() -> None:
    masks = support(np.array([0, 1, 9, 10]))
    assert masks["cold"].tolist() == [True, False, False, False]
    assert masks["rare"].tolist() == [False, True, True, False]
    assert masks["warm"].tolist() == [False, False, False, True]


def test_ten_equal_items_are_one_tenth_each_and_one_without_interactions_is_in_none() -> None:
    assert popularity_tenths(np.array([3] * 10 + [0])).tolist() == [*range(1, 11), 0]


def test_an_item_with_half_of_all_interactions_leaves_the_next_in_the_sixth_tenth() -> None:
    # 50, then fifty ones: the first begins at 0, the second at 50 %, the last at 99 %.
    tenths = popularity_tenths(np.array([50] + [1] * 50))
    assert tenths[:2].tolist() == [1, 6]
    assert tenths[-1] == 10


@given(st.lists(st.integers(0, 60), min_size=1, max_size=60))
def test_more_popular_items_never_lie_in_a_later_tenth(degree: list[int]) -> None:
    tenths = popularity_tenths(np.array(degree))
    assert ((tenths == 0) == (np.array(degree) == 0)).all()
    for a, b in zip(degree, tenths, strict=True):
        for c, d in zip(degree, tenths, strict=True):
            assert not (a > c > 0) or b <= d


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=40))
def test_every_pair_lies_in_the_fifth_between_its_edges(time: list[int]) -> None:
    edges, fifths = time_edges(np.array(time)), time_fifths(np.array(time))
    assert (edges[0], edges[-1]) == (min(time), max(time))
    for moment, fifth in zip(time, fifths.tolist(), strict=True):
        assert 1 <= fifth <= 5
        assert edges[fifth - 1] <= moment <= edges[fifth]


def test_each_dimension_holds_its_own_slices_and_all_pairs_come_first() -> None:
    masks = parts_of(pairs_of([0, 1, 2], [0, 50, 100]), np.array([10, 5, 0]), None)
    assert next(iter(masks)) == ALL
    assert {part: mask.tolist() for part, mask in masks.items() if mask.any()} == {
        ALL: [True, True, True],
        Part(SUPPORT, "warm"): [True, False, False],
        Part(SUPPORT, "rare"): [False, True, False],
        Part(SUPPORT, "cold"): [False, False, True],
        Part(POPULARITY, "1"): [True, False, False],
        Part(POPULARITY, "7"): [False, True, False],
        Part(TIME, "1"): [True, False, False],
        Part(TIME, "3"): [False, True, False],
        Part(TIME, "5"): [False, False, True],
    }


def test_an_item_with_two_genres_is_in_both_and_one_without_is_in_none() -> None:
    items = pd.DataFrame({"genres": ["Drama|Crime", "Drama", None, ""]})
    found = categories_of(
        items, np.array([1, 5, 9, 9]), data_config({"genres": "multicategorical"}), None
    )
    assert found is not None
    assert (found.column, found.labels) == ("genres", ("Drama", "Crime"))  # 6 contexts, 1
    assert found.member.tolist() == [[True, True], [True, False], [False, False], [False, False]]


def test_beyond_the_eight_most_frequent_values_comes_other() -> None:
    names = [chr(ord("a") + n) for n in range(10)]
    found = categories_of(
        pd.DataFrame({"kind": names}), np.arange(10, 0, -1), data_config({"kind": "categorical"}),
        "kind",
    )  # fmt: skip
    assert found is not None
    assert found.labels == (*names[:8], "other")
    assert found.member.argmax(axis=1).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8]


def test_lists_of_values_are_taken_as_they_are() -> None:
    items = pd.DataFrame({"tags": [["x", "y"], np.array(["y"]), []]})
    found = categories_of(
        items, np.array([1, 1, 1]), data_config({"tags": "multicategorical"}), "tags"
    )
    assert found is not None
    assert dict(zip(found.labels, found.member.sum(axis=0).tolist(), strict=True)) == {
        "y": 2, "x": 1,
    }  # fmt: skip


def test_a_column_named_like_a_dimension_is_told_apart() -> None:
    found = categories_of(
        pd.DataFrame({"time": ["day", "night"]}), np.array([1, 1]),
        data_config({"time": "categorical"}), None,
    )  # fmt: skip
    assert found is not None
    assert found.column == "time (column)"


def test_a_single_category_is_preferred_to_several() -> None:
    data = data_config({"tags": "multicategorical", "kind": "categorical", "name": "text"})
    assert slice_column(data, None) == "kind"
    assert slice_column(data, "tags") == "tags"
    assert slice_column(data_config({"name": "text"}), None) is None


def test_a_column_that_cannot_slice_is_named_with_those_that_can() -> None:
    data = data_config({"name": "text", "kind": "categorical"})
    with pytest.raises(ConfigError, match=r"slice_column.*got 'name'; there are kind"):
        slice_column(data, "name")
