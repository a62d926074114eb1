"""Features of two items side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from pinsage.config import FeatureKind
from pinsage.explain.content import compare_cells, compare_features
from pinsage.model.features import FeatureSpec


@pytest.mark.parametrize(
    ("kind", "query", "item", "shared", "alike"),
    [
        ("categorical", "drama", "drama", ("drama",), 1.0),
        ("categorical", "drama", "crime", (), 0.0),
        ("multicategorical", "a|b|c", "b|c|d", ("b", "c"), 2 / 4),
        ("multicategorical", ["a"], np.array(["a", "b"]), ("a",), 1 / 2),
        ("multicategorical", "", "", (), None),
        ("text", "The Rock, 1996", "rock of ages", ("rock",), 1 / 5),
        ("numerical", 1995, np.float32(2.5), None, None),
        ("timestamp", pd.Timestamp("1995-01-02"), "1996-01-01", None, None),
        ("embedding", np.array([1.0, 0.0]), np.array([3.0, 4.0]), None, 3 / 5),
        ("embedding", np.array([0.0, 0.0]), np.array([3.0, 4.0]), None, 0.0),
        ("categorical", None, "drama", None, None),
        ("categorical", float("nan"), float("nan"), None, None),
        ("numerical", float("inf"), 1, None, None),
    ],
)
def test_what_is_shared_is_counted(
    kind: FeatureKind, query: Any, item: Any, shared: tuple[str, ...] | None, alike: float | None
) -> None:
    found = compare_cells("column", kind, query, item, separator="|")
    assert found.shared == shared
    assert found.alike == (None if alike is None else pytest.approx(alike))


def test_values_are_plain() -> None:
    found = compare_cells(
        "at", "timestamp", pd.Timestamp("1995-01-02"), np.datetime64("NaT"), separator="|"
    )
    assert (found.query, found.item) == ("1995-01-02 00:00:00", None)
    number = compare_cells("n", "numerical", np.int64(3), float("inf"), separator="|")
    assert (type(number.query), number.item) == (int, None)


def test_columns_come_as_configured_and_without_the_degree() -> None:
    items = pd.DataFrame({"year": [1990, 1991], "brand": ["a", "a"]})
    kinds: dict[str, FeatureKind] = {"year": "numerical", "brand": "categorical"}
    spec = FeatureSpec.fit(items, np.array([1, 2]), kinds, separator="|", text_buckets=8)
    found = compare_features(items, spec, 1, 0)
    assert [(each.column, each.query, each.item) for each in found] == [
        ("year", 1991, 1990),
        ("brand", "a", "a"),
    ]
