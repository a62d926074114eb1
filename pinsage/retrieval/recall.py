"""How much of exact search an index finds, asked with what really searches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinsage.model.query import QueryMap
from pinsage.retrieval.load_faiss import in_blocks

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

RECALL_AT = 100
BLOCK = 128  # queries that one thread searches for at once
_QUERIES = 1000


@dataclass(frozen=True)
class Trial:
    """Queries float32 [Q, d] and what exact search finds for them, int64 [Q, k]."""

    queries: Matrix
    expected: Rows

    def recall(self, found: Rows) -> float:
        """Share of the expected rows [Q, k] among those found."""
        both = zip(self.expected, found, strict=True)
        shared = sum(len(np.intersect1d(expected, rows)) for expected, rows in both)
        return shared / self.expected.size

    def recall_of(self, search: Callable[[Matrix], Rows], threads: int) -> float:
        """Share of the expected rows that a search finds, the same for any number of threads."""

        def find(some: slice) -> Rows:
            return search(self.queries[some])

        return self.recall(np.concatenate([*in_blocks(find, len(self.queries), BLOCK, threads)]))


def draw_queries(vectors: Matrix, query: QueryMap, seed: int) -> tuple[Matrix, Matrix]:
    """Two samples of the items, as they search, float32 [Q, d]: one to tune with, one to judge.

    The catalog is small where they overlap; then both are all of it.
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(vectors))
    tuning, judging = order[:_QUERIES], order[_QUERIES : 2 * _QUERIES]
    if len(judging) < _QUERIES:
        tuning = judging = order[: 2 * _QUERIES]
    return query(vectors[np.sort(tuning)]), query(vectors[np.sort(judging)])
