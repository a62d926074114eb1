"""Numbers as people write them, and other people's text on one line."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.474, "47.4 %"), (0.0, "0.0 %"), (1.0, "100.0 %"), (-0.001, "−0.1 %"), (None, "–"),
     (math.nan, "–"), (-0.0001, "0.0 %")],
)  # fmt: skip
def test_a_share_is_in_percent_with_one_decimal(value: float | None, shown: str) -> None:
    assert text.percent(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0395, ".0395"), (0.1234, ".123"), (1.0, "1.000"), (0.99996, "1.000"), (0.0, ".0000"),
     (-0.0021, "−.0021"), (None, "–"), (2.5, "2.500"), (-0.00001, ".0000")],
)  # fmt: skip
def test_a_small_number_has_three_digits_and_no_leading_zero(
    value: float | None, shown: str
) -> None:
    assert text.decimal(value) == shown


def test_a_difference_carries_its_sign() -> None:
    assert text.points(0.041, sign=True) == "+4.1"
    assert text.points(-0.041) == "−4.1"
    assert text.points(0.0001, sign=True) == "0.0"
    assert text.decimal(0.021, sign=True) == "+.0210"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (75, "1 min 15 s"),
     (7805, "2 h 10 min"), (None, "–")],
)  # fmt: skip
def test_a_time_is_in_the_unit_that_fits(seconds: float | None, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_sizes_counts_and_lists() -> None:
    assert (text.memory(310.4), text.memory(1500)) == ("310 MiB", "1.5 GiB")
    assert (text.count(1682), text.count(None)) == ("1,682", "–")
    assert (text.plural(1, "pair"), text.plural(2, "query", "queries")) == ("1 pair", "2 queries")
    assert [text.listed(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


def test_moments_are_to_the_minute_and_other_text_is_left() -> None:
    assert text.moment("1998-04-22T23:10:38+00:00") == "1998-04-22 23:10 UTC"
    assert text.day("1998-04-22T23:10:38+00:00") == "1998-04-22"
    assert (text.moment("never"), text.moment(None), text.day("")) == ("never", "–", "–")


def test_recboles_types_are_no_part_of_a_columns_name() -> None:
    assert text.column_name("class:token_seq") == "class"
    assert text.column_name("price:usd") == "price:usd"


def test_controls_and_turned_directions_become_a_sign_and_joiners_stay() -> None:
    assert text.one_line("a\u202eb\u0000c\u2066d") == "a\ufffdb\ufffdc\ufffdd"
    assert text.one_line("two\nlines\t and  more") == "two lines and more"
    assert text.one_line("👩\u200d👧") == "👩\u200d👧"


@given(st.text(), st.integers(2, 50))
def test_any_text_becomes_one_line_of_bounded_length(value: str, width: int) -> None:
    line = text.one_line(value, width)
    assert len(line) <= width
    assert "\n" not in line
    assert not any("\u202a" <= c <= "\u202e" or c < " " for c in line)
