"""Vectors that are alike in groups, for the tests of indexes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def clustered(num_rows: int, num_clusters: int, width: int, seed: int = 3) -> Matrix:
    """Unit vectors float32 [N, d]."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_clusters, width))
    points = centres[rng.integers(num_clusters, size=num_rows)]
    points = points + 0.5 * rng.normal(size=points.shape)
    unit: Matrix = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return unit


def brute_force(vectors: Matrix, queries: Matrix, k: int) -> npt.NDArray[np.int64]:
    """The k best rows by inner product in float64, the smaller row first among equals."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
