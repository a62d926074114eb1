"""Bags of tokens: texts hashed to buckets, and values of multicategorical columns."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_frame.data import MultiNestedTensor

from pinsage.model.bags import hashed_text, known_values, values_of, vocabulary_of

BUCKETS = 1 << 20


def bags(ragged: MultiNestedTensor) -> list[list[int]]:
    return [ragged[row, 0].tolist() for row in range(ragged.num_rows)]


def buckets_of(*grams: str) -> list[int]:
    return sorted(zlib.crc32(gram.encode()) % BUCKETS for gram in grams)


def test_a_title_is_its_words_pairs_of_words_and_letter_4_grams() -> None:
    expected = buckets_of(
        "toy", "story", "toy story", "<toy", "toy>", "<sto", "stor", "tory", "ory>"
    )
    assert bags(hashed_text(["Toy Story"], BUCKETS)) == [expected]


def test_case_punctuation_and_repeats_do_not_matter() -> None:
    first, second = bags(hashed_text(["Up, UP & up up", "up up"], BUCKETS))
    assert first == second == buckets_of("up", "up up", "<up>")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, "", "!?"])
def test_a_missing_or_wordless_text_is_one_padding_token(missing: Any) -> None:
    assert bags(hashed_text([missing], BUCKETS)) == [[-1]]


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(st.text(max_size=20), max_size=6), buckets=st.integers(8, 64))
def test_any_text_gives_sorted_distinct_buckets_in_range(texts: list[str], buckets: int) -> None:
    for bag in bags(hashed_text(texts, buckets)):
        assert bag == sorted(set(bag))
        assert bag == [-1] or all(0 <= bucket < buckets for bucket in bag)


def test_values_keep_their_place_in_the_vocabulary_and_strangers_are_left_out() -> None:
    cells = ["b|a", "c|zzz", "zzz", None, ["a", "a", "c"], np.array(["b"])]
    ragged = known_values(cells, ["a", "b", "c"], "|")
    assert bags(ragged) == [[0, 1], [2], [-1], [-1], [0, 2], [1]]


def test_the_vocabulary_is_all_values_once_in_order() -> None:
    assert vocabulary_of(["b| a", None, "a||b", ["z", 3]], "|") == ["3", "a", "b", "z"]


def test_values_are_trimmed_and_empty_ones_dropped() -> None:
    assert values_of(" x ,, y", ",") == ["x", "y"]
