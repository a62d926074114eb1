"""The kinds of expectation that the suites are written with.

Every one says in words what is expected (its description), which column it is `about` (a column
of the user's, where the checked one is derived) and what to do where it does not hold.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from great_expectations.expectations.core.expect_column_max_to_be_between import (
    ExpectColumnMaxToBeBetween,
)
from great_expectations.expectations.core.expect_column_most_common_value_to_be_in_set import (
    ExpectColumnMostCommonValueToBeInSet,
)
from great_expectations.expectations.core.expect_column_to_exist import (
    ExpectColumnToExist,
)
from great_expectations.expectations.core.expect_column_unique_value_count_to_be_between import (
    ExpectColumnUniqueValueCountToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_between import (
    ExpectColumnValuesToBeBetween,
)
from great_expectations.expectations.core.expect_column_values_to_be_in_set import (
    ExpectColumnValuesToBeInSet,
)
from great_expectations.expectations.core.expect_column_values_to_be_unique import (
    ExpectColumnValuesToBeUnique,
)
from great_expectations.expectations.core.expect_column_values_to_not_be_null import (
    ExpectColumnValuesToNotBeNull,
)
from great_expectations.expectations.core.expect_table_row_count_to_be_between import (
    ExpectTableRowCountToBeBetween,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metadata_types import FailureSeverity

Suite = list[Expectation]

_LARGEST = sys.float_info.max


def exists(column: str, *, hint: str) -> Expectation:
    """The table has the column."""
    words = _words(column, f"there is a column {column}", hint)
    return ExpectColumnToExist(column=column, **words)


def of_kind(column: str, kinds: Iterable[str], *, hint: str) -> Expectation:
    """The column is of one of `kinds`; for the one-row frame of `tables.read_schema`."""
    allowed = list(kinds)
    words = _words(column, f"{column} is of type {' or '.join(allowed)}", hint)
    return ExpectColumnMostCommonValueToBeInSet(column=column, value_set=allowed, **words)


def rows_at_least(least: int, what: str, *, hint: str) -> Expectation:
    """The table has at least `least` rows."""
    words = _words(None, f"at least {least:,} {what}", hint)
    return ExpectTableRowCountToBeBetween(min_value=least, **words)


def distinct_at_least(column: str, least: int, says: str, *, hint: str) -> Expectation:
    """The column takes at least `least` values."""
    words = _words(column, says, hint)
    return ExpectColumnUniqueValueCountToBeBetween(column=column, min_value=least, **words)


def present(column: str, max_missing_share: float, *, hint: str) -> Expectation:
    """At most `max_missing_share` of the values are missing."""
    limit = (
        f"in at most {_percent(max_missing_share)} of the rows" if max_missing_share else "nowhere"
    )
    words = _words(column, f"{column} is missing {limit}", hint)
    return ExpectColumnValuesToNotBeNull(
        column=column, mostly=_complement(max_missing_share), **words
    )


def preferably_unique(column: str, says: str, *, hint: str) -> Expectation:
    """No value appears twice: a warning, which stops no run."""
    words = _words(column, says, hint)
    return ExpectColumnValuesToBeUnique(column=column, severity=FailureSeverity.WARNING, **words)


def within(
    column: str,
    low: float | None,
    high: float | None,
    says: str,
    *,
    hint: str,
    about: str | None = None,
) -> Expectation:
    """Every value present lies between the bounds, both included."""
    words = _words(about or column, says, hint)
    return ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, **words)


def fact(
    column: str, low: float | None, high: float | None, says: str, *, hint: str
) -> Expectation:
    """The one value of a column of facts lies between the bounds, both included."""
    words = _words(column, says, hint)
    return ExpectColumnMaxToBeBetween(column=column, min_value=low, max_value=high, **words)


def finite(column: str, *, hint: str) -> Expectation:
    """No value is infinite; NaN counts as missing."""
    return within(column, -_LARGEST, _LARGEST, f"{column} is finite (no infinity)", hint=hint)


def flag_is(
    column: str, value: bool, max_share: float, says: str, *, about: str, hint: str
) -> Expectation:
    """At most `max_share` of a derived boolean column differ from `value`."""
    limit = f"at most {_percent(max_share)} of the" if max_share else "no"
    words = _words(about, f"{limit} {says}", hint)
    return ExpectColumnValuesToBeInSet(
        column=column, value_set=[value], mostly=_complement(max_share), **words
    )


def _words(about: str | None, says: str, hint: str) -> dict[str, Any]:
    return {"description": says, "meta": {"about": about, "hint": hint}}


def _complement(share: float) -> float:
    return round(1.0 - share, 12)  # 1 - 0.9 is not 0.1: a share of exactly the limit must pass


def _percent(share: float) -> str:
    return f"{100 * share:g}%"
