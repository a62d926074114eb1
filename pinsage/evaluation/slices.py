"""Which pairs a number is about: all of them, or those of one slice of a dimension.

    support      the positive's training contexts: warm (10 or more), rare (1 to 9), cold (none)
    popularity   tenths of the training interactions, "1" the most popular items
    time         fifths of the period, "1" right after training: how a model ages
    <column>     the positive's categories in one column of the catalog

A dimension's slices are the same for every method, and from night to night where the data are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from pinsage.config import DataConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError

Degree = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SUPPORT, POPULARITY, TIME = "support", "popularity", "time"
OTHER = "other"
_WARM_DEGREE = 10
_NUM_TENTHS, _NUM_FIFTHS = 10, 5
_NUM_VALUES = 8
_SLICEABLE = ("categorical", "multicategorical")


class Part(NamedTuple):
    """A slice of a dimension; `ALL` is the only one of its own."""

    dimension: str
    label: str


ALL = Part("all", "all")


@dataclass(frozen=True)
class Categories:
    """The categories of items in one column.

    Attributes:
        column: its name
        labels: the most frequent values in training, and `other`
        member: bool [N, V], which items have which; an item may have several, or none
    """

    column: str
    labels: tuple[str, ...]
    member: Mask


def parts_of(pairs: Pairs, degree: Degree, categories: Categories | None) -> dict[Part, Mask]:
    """Every slice with its pairs, bool [P] each; `degree` is int64 [N], of items in training."""
    positive = pairs.positive_row
    masks = {ALL: np.ones(len(pairs), dtype=np.bool_)}
    for label, mask in support(degree[positive]).items():
        masks[Part(SUPPORT, label)] = mask
    masks |= _numbered(POPULARITY, popularity_tenths(degree)[positive], _NUM_TENTHS)
    if len(pairs.time):
        masks |= _numbered(TIME, time_fifths(pairs.time), _NUM_FIFTHS)
    if categories is not None:
        for value, label in enumerate(categories.labels):
            masks[Part(categories.column, label)] = categories.member[positive, value]
    return masks


def support(positive_degree: Degree) -> dict[str, Mask]:
    """`warm` has 10 or more training contexts, `rare` 1 to 9, `cold` none."""
    return {
        "warm": positive_degree >= _WARM_DEGREE,
        "rare": (positive_degree > 0) & (positive_degree < _WARM_DEGREE),
        "cold": positive_degree == 0,
    }


def popularity_tenths(degree: Degree) -> npt.NDArray[np.int64]:
    """1 to 10 for each item, 0 for those without an interaction; int64 [N].

    Items are ordered by degree and cut where a tenth of all interactions is reached: tenths of
    the items would put nearly all interactions of a long tail into the first.
    """
    order = np.lexsort((np.arange(len(degree)), -degree))
    before = np.concatenate([[0], np.cumsum(degree[order])[:-1]])
    tenths = np.empty(len(degree), dtype=np.int64)
    tenths[order] = 1 + _NUM_TENTHS * before // max(int(degree.sum()), 1)
    return np.where(degree > 0, tenths, 0)


def time_fifths(time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """1 to 5 for each pair: equal stretches from the first to the last; int64 [P]."""
    edges = time_edges(time)
    return np.searchsorted(edges[1:-1], time, side="right").astype(np.int64) + 1


def time_edges(time: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The six ends of the fifths, µs, int64."""
    first, last = int(time.min()), int(time.max())
    return np.array([first + (last - first) * n // _NUM_FIFTHS for n in range(_NUM_FIFTHS + 1)])


def categories_of(items: pd.DataFrame, degree: Degree, data: DataConfig, column: str | None
                  ) -> Categories | None:  # fmt: skip
    """Categories in `column`, else in the first categorical feature; None where there is none.

    `items` is the catalog in row order. Raises ConfigError where `column` is no such feature.
    """
    name = slice_column(data, column)
    if name is None or data.items is None:
        return None
    several = data.items.features[name] == "multicategorical"
    cells = _cells(items[name], data.items.separator if several else None)
    rows, values = cells.index.to_numpy(), cells.to_numpy()
    weight = pd.Series(degree[rows] + 1e-9).groupby(values).sum()  # 1e-9: ties go by item count
    ranked = sorted(weight.index, key=lambda value: (-weight[value], value))
    labels = (*ranked[:_NUM_VALUES], OTHER) if len(ranked) > _NUM_VALUES else tuple(ranked)
    place = {value: min(number, _NUM_VALUES) for number, value in enumerate(ranked)}
    member = np.zeros((len(items), len(labels)), dtype=np.bool_)
    member[rows, [place[value] for value in values]] = True
    return Categories(_distinct(name), labels, member)


def slice_column(data: DataConfig, column: str | None) -> str | None:
    """The categorical feature that results are sliced by, if there is one. Raises ConfigError."""
    features: Mapping[str, str] = data.items.features if data.items else {}
    usable = [name for name, kind in features.items() if kind in _SLICEABLE]
    if column is not None and column not in usable:
        raise ConfigError(
            f"evaluation.slice_column: expected a categorical or multicategorical feature of the "
            f"catalog (got {column!r}; there {_are(usable)}); declare it in data.items.features"
        )
    # By kind, then by the configuration's order: one category an item is easier to read.
    first = sorted(usable, key=lambda name: features[name] != "categorical")
    return column or next(iter(first), None)


def _cells(column: pd.Series, separator: str | None) -> pd.Series:
    """One value a row, indexed by item row; missing values are left out."""
    numbered = column.reset_index(drop=True).dropna()
    if separator is not None:
        parts = [
            list(cell) if not isinstance(cell, str) else cell.split(separator) for cell in numbered
        ]
        numbered = pd.Series(parts, index=numbered.index, dtype=object).explode().dropna()
    text = numbered.astype(str).str.strip()
    return text[text != ""]


def _numbered(dimension: str, number: npt.NDArray[np.int64], size: int) -> dict[Part, Mask]:
    return {Part(dimension, str(n)): number == n for n in range(1, size + 1)}


def _distinct(name: str) -> str:
    taken = (ALL.dimension, SUPPORT, POPULARITY, TIME)
    return f"{name} (column)" if name in taken else name


def _are(names: Sequence[str]) -> str:
    return f"are {', '.join(names)}" if names else "is none"
