"""Baselines that are vectors: the best inner products, by the exact ranking of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.embeddings import EmbeddingScorer

Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_BEYOND = 1.01  # more than rounding to float32 can take back


def vector_scorer(
    name: str, queries: Matrix, items: Matrix, known: Mask, settings: Mapping[str, Any]
) -> EmbeddingScorer:
    """Score by inner product of `queries` and `items`, float32 [N, d]; items not `known` are last.

    Training says nothing of an item without a context, so its vector is what it was initialised
    to: such items score alike, below all others. One more dimension sees to that: it is 0 for a
    known item; −L for an unknown one, with L the length of the longest known vector; and a little
    more than its own length for a query. By Cauchy and Schwarz no known item can score as low.
    """
    lengths = np.linalg.norm(queries, axis=1)
    longest = np.linalg.norm(items[known], axis=1).max(initial=0.0)
    last = np.where(known, 0.0, -longest if longest > 0 else -1.0)
    own = np.where(lengths > 0, _BEYOND * lengths, 1.0)
    return EmbeddingScorer(
        name,
        _widened(items * known[:, None], last),
        queries=_widened(queries, own),
        settings=settings,
    )


def _widened(vectors: Matrix, column: npt.NDArray[np.floating[Any]]) -> Matrix:
    return np.column_stack([vectors, column.astype(np.float32)]).astype(np.float32, copy=False)
