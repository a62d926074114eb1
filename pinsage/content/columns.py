"""What the catalog says of items, as vectors: bags of terms, and points on a sphere.

Each feature column becomes a block of a vector that has length 1, or 0 where the cell is missing.
Categories, lists of them and the n-grams of texts are bags, weighted by TF-IDF with a term
frequency of 1 (Spärck Jones, "A statistical interpretation of term specificity", 1972). Numbers
and times are standardised and laid on a quarter circle, so that near values are alike: the cosine
is 1 for equal ones, cos 45° for two standard deviations, 0 for the ends of the scale. Given
vectors keep their direction.

How rare a term is, and how far numbers spread, may be counted among some of the items alone: then
what the others are changes no cosine between an item and one that is counted.

Shapes: N items, F terms of a column, Z entries of all bags of a column, D dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from pinsage.config import FeatureKind, ItemsConfig

if TYPE_CHECKING:
    from torch_frame.data import TensorFrame

    from pinsage.model.features import FeatureSpec

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

_TEXT_BUCKETS = 1 << 18  # more than a model's, whose every bucket has a vector: fewer collisions
_FAR = 2.0  # standard deviations from the mean to either end of the quarter circle


@dataclass(frozen=True)
class Bags:
    """A column of bags of terms: a CSR of ones.

    Attributes:
        indptr: int64 [N + 1]
        terms: int32 [Z], ascending in each row
        rarity: float64 [F], log(1 + n / d) of a term that d of the n counted items have; a term
            that none of them has counts as one item's
    """

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    rarity: Float64

    @property
    def num_terms(self) -> int:
        """F."""
        return len(self.rarity)

    def lengths(self, weight: Float64) -> Float64:
        """Euclidean length of each bag where a term has `weight`, float64 [N]."""
        sizes = np.diff(self.indptr)
        item = np.repeat(np.arange(len(sizes)), sizes)
        # Added up bag by bag, in the order of the terms: equal bags have equal lengths.
        return np.sqrt(np.bincount(item, np.square(weight)[self.terms], len(sizes)))


@dataclass(frozen=True)
class Content:
    """The blocks of a catalog's columns.

    Attributes:
        bags: by column
        points: by column; float32 [N, D], rows of length 1 or 0
        num_items: N
    """

    bags: dict[str, Bags]
    points: dict[str, Matrix]
    num_items: int

    @property
    def num_columns(self) -> npt.NDArray[np.int64]:
        """How many columns say something of each item, int64 [N]."""
        count = np.zeros(self.num_items, dtype=np.int64)
        for bags in self.bags.values():
            count += np.diff(bags.indptr) > 0
        for points in self.points.values():
            count += points.any(axis=1)
        return count

    @classmethod
    def of(cls, items: pd.DataFrame, declared: ItemsConfig | None) -> Content | None:
        """Read the feature columns of a catalog of N rows; None where there is none.

        Raises TrainingError where a column is not there or has no usable value.
        """
        if declared is None or not declared.features:
            return None
        return cls.of_columns(items, declared.features, separator=declared.separator)

    @classmethod
    def of_columns(
        cls,
        items: pd.DataFrame,
        kinds: Mapping[str, FeatureKind],
        *,
        separator: str,
        counted: Mask | None = None,
    ) -> Content:
        """Read columns of N items; rarity and spread among `counted`, bool [N], or else among all.

        A number or time that no counted item has is as if missing. Raises TrainingError as `of`.
        """
        from pinsage.model.features import FeatureSpec  # imports torch

        nothing = np.zeros(len(items), dtype=np.int64)  # the degree is no content
        spec = FeatureSpec.fit(
            items, nothing, kinds, separator=separator, text_buckets=_TEXT_BUCKETS
        )
        frame = spec.transform(items, nothing)
        among = np.ones(len(items), dtype=np.bool_) if counted is None else counted
        blocks = {column: _block(frame, spec, column, among) for column in kinds}
        return cls(
            {column: block for column, block in blocks.items() if isinstance(block, Bags)},
            {column: block for column, block in blocks.items() if not isinstance(block, Bags)},
            len(items),
        )


def unit_rows(vectors: Matrix) -> Matrix:
    """The vectors at length 1, float32 [N, d]; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Matrix = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return unit


def _block(frame: TensorFrame, spec: FeatureSpec, column: str, counted: Mask) -> Bags | Matrix:
    kind, cells = spec.columns[column], frame.get_col_feat(column)
    if kind in ("text", "multicategorical"):
        size = spec.text_buckets if kind == "text" else len(spec.stats[column]["vocabulary"])
        return _bags(cells.values.numpy(), cells.offset.numpy(), size, counted)
    if kind == "categorical":
        codes = cells.numpy().ravel()
        vocabulary = spec.stats[column]["vocabulary"]
        return _bags(codes, np.arange(len(codes) + 1), len(vocabulary), counted)
    if kind == "embedding":
        return unit_rows(cells.values.numpy())
    numbers = _years(cells.numpy()) if kind == "timestamp" else cells.numpy()
    return _on_quarter_circle(numbers.reshape(len(numbers), -1)[:, 0].astype(np.float64), counted)


def _bags(
    terms: npt.NDArray[np.int64], offset: npt.NDArray[np.int64], num_terms: int, counted: Mask
) -> Bags:
    """Bags without the −1 that stands for a missing value."""
    there = terms >= 0
    indptr = np.concatenate([[0], np.cumsum(there)])[offset].astype(np.int64)
    known = terms[there].astype(np.int32)
    of_counted = np.repeat(counted, np.diff(indptr))
    frequency = np.bincount(known[of_counted], minlength=num_terms)
    return Bags(indptr, known, np.log1p(counted.sum() / np.maximum(frequency, 1)))


def _years(calendar: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Times in years, float64 [N], NaN where missing, of parts as `FeatureSpec` has them."""
    parts = calendar.reshape(len(calendar), -1)
    year, month, day = (parts[:, n].astype(np.float64) for n in range(3))
    return np.where(year < 0, np.nan, year + month / 12 + day / 366)


def _on_quarter_circle(numbers: Float64, counted: Mask) -> Matrix:
    known = np.isfinite(numbers)
    scale = numbers[known & counted]
    if not len(scale):  # nothing to measure a distance by
        return np.zeros((len(numbers), 2), dtype=np.float32)
    standard = (numbers - scale.mean()) / (scale.std() or 1.0)
    angle = (np.clip(standard, -_FAR, _FAR) + _FAR) / (2 * _FAR) * (np.pi / 2)
    points = np.column_stack([np.cos(angle), np.sin(angle)])
    return np.where(known[:, None], points, 0.0).astype(np.float32)
