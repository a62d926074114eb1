"""Content as dense vectors, for whoever compares many pairs of items: a random projection.

A sparse Johnson–Lindenstrauss transform: each term and coordinate goes to a few signed places
(Kane & Nelson, "Sparser Johnson–Lindenstrauss transforms", JACM 2014). The one direction that all
items share, their mean, is kept exactly: projected like the rest it would be off by the same
amount in every pair, and no mean over pairs would get rid of it.

Shapes: N items, F terms of a column, Z entries of all bags of a column, D places.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.content.columns import Bags, Content, Float64, Matrix, unit_rows
from pinsage.errors import ConfigError

_SIGNS = 8  # places a term goes to
_BLOCK = 1 << 14


def content_vectors(content: Content, *, dimensions: int = 256, seed: int = 0) -> Matrix:
    """Content as dense unit vectors, float32 [N, dimensions]; zeros for an item without any.

    The content is that of content-kNN as it is by default: blocks of TF-IDF, every column counted
    alike. An inner product estimates the cosine with a standard error of about 1 / √dimensions,
    0.06 at 256; it is 1 for equal contents, and good to a few thousandths in a mean over many
    pairs. `seed` draws the places. Memory: 4 N D bytes, and 24 Z while a column is read. Raises
    ConfigError for fewer than 2 dimensions.
    """
    if dimensions < 2:
        raise ConfigError(
            f"dimensions: expected at least 2, the mean's and one place (got {dimensions})"
        )
    count = content.num_columns
    whole = np.divide(1.0, np.sqrt(count), out=np.zeros(len(count)), where=count > 0)
    projection = _Projection(content.num_items, dimensions, seed)
    for bags in content.bags.values():
        projection.add_bags(bags, whole)
    for points in content.points.values():
        projection.add_points(points * whole[:, None].astype(np.float32))
    return projection.finish()


class _Projection:
    """Adds up columns: each item's part along the mean of all, and its random projection."""

    def __init__(self, num_items: int, dimensions: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._vectors = np.zeros((num_items, dimensions), dtype=np.float32)
        self._others = self._vectors[:, 1:]
        self._along = np.zeros(num_items)
        self._mean, self._energy = np.zeros(dimensions - 1), 0.0  # its projection, its square

    def add_bags(self, bags: Bags, whole: Float64) -> None:
        """Add a column of bags, each of length `whole`."""
        item, values = _entries(bags, whole)
        mean = np.bincount(bags.terms, values, bags.num_terms) / len(self._along)
        places, signs = self._draw(bags.num_terms)
        _project(bags.indptr, bags.terms, values, places, signs, self._others)
        self._along += np.bincount(item, values * mean[bags.terms], len(self._along))
        self._mean += self._spread(mean, places, signs)
        self._energy += float(mean @ mean)

    def add_points(self, rows: Matrix) -> None:
        """Add a column of points, float32 [N, F]."""
        mean = rows.mean(axis=0, dtype=np.float64)
        places, signs = self._draw(len(mean))
        mixing = np.stack([self._spread(axis, places, signs) for axis in np.eye(len(mean))])
        self._others += rows @ mixing.astype(np.float32)
        self._along += rows @ mean
        self._mean += mean @ mixing
        self._energy += float(mean @ mean)

    def finish(self) -> Matrix:
        """What lies along the mean has a place of its own, and is taken out of the others."""
        energy = self._energy or 1.0
        self._vectors[:, 0] = self._along / np.sqrt(energy)
        for first in range(0, len(self._vectors), _BLOCK):  # no second matrix of this size
            rows = slice(first, first + _BLOCK)
            self._others[rows] -= np.outer(self._along[rows], self._mean / energy)
            self._vectors[rows] = unit_rows(self._vectors[rows])
        return self._vectors

    def _draw(self, num_terms: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Places and signs of each term, [F, 8] each."""
        shape = (num_terms, _SIGNS)
        places = self._rng.integers(0, self._others.shape[1], shape, dtype=np.int32)
        signs = self._rng.integers(0, 2, shape, dtype=np.int8) * 2.0 - 1.0
        return places, (signs / np.sqrt(_SIGNS)).astype(np.float32)

    def _spread(
        self, vector: Float64, places: npt.NDArray[np.int32], signs: npt.NDArray[np.float32]
    ) -> Float64:
        """The projection of one vector, float64 [F] to [D]."""
        parts = (vector[:, None] * signs).ravel().astype(np.float64)
        return np.asarray(np.bincount(places.ravel(), parts, len(self._mean)), dtype=np.float64)


def _entries(bags: Bags, whole: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
    """The item and the value of every entry of a column's blocks, [Z] each."""
    weight = bags.rarity
    lengths = bags.lengths(weight)
    scale = np.divide(whole, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    item = np.repeat(np.arange(len(lengths)), np.diff(bags.indptr))
    return item, weight[bags.terms] * scale[item]


@numba.njit(parallel=True, cache=True)
def _project(indptr: Any, terms: Any, values: Any, places: Any, signs: Any, vectors: Any) -> None:
    for item in numba.prange(len(vectors)):
        for entry in range(indptr[item], indptr[item + 1]):
            term = terms[entry]
            for draw in range(places.shape[1]):
                vectors[item, places[term, draw]] += values[entry] * signs[term, draw]
