"""Cosines of items by content, for a block of items at a time.

Each pair is summed up by itself, in one order: equal contents have equal cosines, wherever they
stand in a block and however many threads there are.

Shapes: B items that are asked for, N items, F terms of a column, Z entries of all bags of a column,
D dimensions of all points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.content.columns import Bags, Content, Float64, Matrix

_CHUNK = 1024  # items a thread takes at a time: their cosines stay in the fastest cache


@dataclass(frozen=True)
class Postings:
    """A column of bags, ready to be searched by term.

    Attributes:
        indptr, terms: CSR of the bags, int64 [N + 1], int32 [Z]
        starts, items: CSR of the items of each term, int64 [F + 1], int32 [Z]
        weight: float32 [F], the square of a term's weight
        scale: float32 [N], what an item's bag is multiplied by
    """

    indptr: npt.NDArray[np.int64]
    terms: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float32]

    @classmethod
    def of(cls, bags: Bags, weight: Float64, scale: Float64) -> Postings:
        """Turn bags around; `weight` is float64 [F], of a term, and `scale` [N], of an item."""
        sizes = np.diff(bags.indptr)
        item = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
        starts = np.zeros(bags.num_terms + 1, dtype=np.int64)
        np.cumsum(np.bincount(bags.terms, minlength=bags.num_terms), out=starts[1:])
        return cls(
            bags.indptr,
            bags.terms,
            starts,
            item[np.argsort(bags.terms, kind="stable")],
            np.square(weight).astype(np.float32),
            scale.astype(np.float32),
        )


@dataclass(frozen=True)
class ContentCosines:
    """Cosine of the columns' blocks, laid side by side.

    A block has length 1, or with `mass` m the m-th power of its length in TF-IDF, so that at 1 a
    rare term counts the same in whatever column it stands. `idf` is the power of the inverse
    document frequency: at 0 all terms weigh the same.

    Attributes:
        postings: columns of terms
        points: float32 [D, N], the columns of points, already scaled
    """

    postings: tuple[Postings, ...]
    points: Matrix

    @classmethod
    def of(cls, content: Content, *, idf: float = 1.0, mass: float = 0.0) -> ContentCosines:
        """Weigh the terms, and scale each item to length 1. Memory: 8 Z + 4 N D bytes."""
        weights = {column: bags.rarity**idf for column, bags in content.bags.items()}
        lengths = {column: bags.lengths(weights[column]) for column, bags in content.bags.items()}
        total = np.zeros(content.num_items)
        for length in lengths.values():
            total += np.where(length > 0, length ** (2 * mass), 0.0)
        for points in content.points.values():
            total += points.any(axis=1)
        whole = np.divide(1.0, np.sqrt(total), out=np.zeros_like(total), where=total > 0)
        postings = tuple(
            Postings.of(bags, weights[column], _power(lengths[column], mass - 1) * whole)
            for column, bags in content.bags.items()
        )
        scaled = [(points * whole[:, None]).T for points in content.points.values()]
        across = np.concatenate([np.zeros((0, content.num_items)), *scaled])
        return cls(postings, np.ascontiguousarray(across, dtype=np.float32))

    @property
    def num_items(self) -> int:
        """N."""
        return int(self.points.shape[1])

    def of_rows(self, rows: npt.NDArray[np.integer[Any]]) -> Matrix:
        """Cosines of items with all, float32 [B, N]; 0 for and of items without content."""
        cosines = np.zeros((len(rows), self.num_items), dtype=np.float32)
        for bags in self.postings:
            _add_shared_terms(
                rows, bags.indptr, bags.terms, bags.starts, bags.items, bags.weight, bags.scale,
                cosines,
            )  # fmt: skip
        _add_products(rows, self.points, cosines)
        return cosines


def _power(lengths: Float64, exponent: float) -> Float64:
    """lengths^exponent; 0 stays 0, also where the exponent is negative."""
    return np.power(lengths, exponent, out=np.zeros_like(lengths), where=lengths > 0)


@numba.njit(parallel=True, cache=True)
def _add_shared_terms(
    query_rows: Any,
    indptr: Any,
    terms: Any,
    starts: Any,
    items: Any,
    weight: Any,
    scale: Any,
    scores: Any,
) -> None:
    for position in numba.prange(len(query_rows)):
        query = query_rows[position]
        row = scores[position]
        for entry in range(indptr[query], indptr[query + 1]):
            term = terms[entry]
            worth = weight[term] * scale[query]
            for place in range(starts[term], starts[term + 1]):
                item = items[place]
                row[item] += worth * scale[item]


@numba.njit(parallel=True, cache=True)
def _add_products(query_rows: Any, points: Any, scores: Any) -> None:
    # By hand: how a BLAS rounds depends on where in a block an item stands, and would part ties.
    num_dimensions, num_items = points.shape
    for chunk in numba.prange((num_items + _CHUNK - 1) // _CHUNK):
        first, last = chunk * _CHUNK, min(num_items, (chunk + 1) * _CHUNK)
        for position in range(len(query_rows)):
            row = scores[position, first:last]
            for dimension in range(num_dimensions):
                value = points[dimension, query_rows[position]]
                column = points[dimension, first:last]
                for item in range(last - first):
                    row[item] += value * column[item]
