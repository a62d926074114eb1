"""Embeddings that stay comparable from one version to the next: orthogonal Procrustes.

Two trainings that find the same geometry may still find it turned or mirrored, and a consumer who
kept yesterday's vectors would compare what cannot be compared. On the items that both versions
have, the orthogonal R that minimises ‖Z R − Z_old‖ is U Vᵀ, of the singular value decomposition
Zᵀ Z_old = U S Vᵀ (Schönemann 1966). R changes no inner product within a version.

Shapes: S shared items, d dimensions, Q sampled queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from pinsage.model.query import QueryMap

Matrix = npt.NDArray[np.float32]
Rotation = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

NEIGHBOURS = 10
_QUERIES = 1000
_BLOCK = 1 << 16  # rows
_QUERY_BLOCK = 64


@dataclass(frozen=True)
class Side:
    """One version's embeddings, float32 [N, d], and what they search with."""

    vectors: Matrix
    query: QueryMap


@dataclass(frozen=True)
class Stability:
    """How far a version is from the one before, on the items both have.

    Attributes:
        num_shared: S
        overlap: mean share of the 10 nearest shared items that both versions agree on, exact, of a
            seeded sample of items; None where fewer than 12 items are shared
        cosine_mean: mean cosine of an item's aligned vector with its earlier one; None unaligned
        cosine_q05: the 5 % quantile of those cosines
    """

    num_shared: int
    overlap: float | None
    cosine_mean: float | None = None
    cosine_q05: float | None = None

    def facts(self) -> dict[str, Any]:
        """As a manifest has it; what could not be measured is left out."""
        named = {
            f"overlap_{NEIGHBOURS}": self.overlap,
            "cosine_mean": self.cosine_mean,
            "cosine_q05": self.cosine_q05,
        }
        measured = {name: round(v, 6) for name, v in named.items() if v is not None}
        return {"num_shared": self.num_shared, **measured}


def shared_rows(new: Sequence[Any], old: Sequence[Any]) -> tuple[Rows, Rows]:
    """Rows of the items that are in both catalogs, by id: in the new one and in the old, [S]."""
    old_at = pd.Index(old).get_indexer(pd.Index(new)).astype(np.int64)
    new_at = np.flatnonzero(old_at >= 0)
    return new_at, old_at[new_at]


def find_rotation(new: Matrix, old: Matrix, rows: tuple[Rows, Rows]) -> Rotation:
    """The orthogonal R, float64 [d, d], that brings `new` nearest to `old` on the shared rows.

    Computed by one thread, so that the number of threads changes no bit of what is published.
    """
    width = new.shape[1]
    product = np.zeros((width, width))
    with threadpool_limits(limits=1):
        for start in range(0, len(rows[0]), _BLOCK):
            new_at, old_at = (each[start : start + _BLOCK] for each in rows)
            product += new[new_at].astype(np.float64).T @ old[old_at].astype(np.float64)
        left, _, right = np.linalg.svd(product)
        rotation: Rotation = left @ right
    return rotation


def why_not(new: Matrix, old: Matrix, num_shared: int) -> str:
    """Why two versions cannot be aligned; empty where they can."""
    if new.shape[1] != old.shape[1]:
        return f"the dimension was {old.shape[1]} and is {new.shape[1]}"
    if num_shared < new.shape[1]:
        return f"{num_shared:,} items are shared, fewer than the {new.shape[1]} dimensions"
    return ""


def rotate(vectors: Matrix, rotation: Rotation, out: Matrix) -> None:
    """Write Z R into `out`, float32 [N, d], in blocks of rows."""
    with threadpool_limits(limits=1):
        for start in range(0, len(vectors), _BLOCK):
            block = vectors[start : start + _BLOCK].astype(np.float64)
            out[start : start + _BLOCK] = block @ rotation


def stability(
    new: Side, old: Side, rows: tuple[Rows, Rows], rotation: Rotation | None, seed: int
) -> Stability:
    """Measure a version against the one before; `rotation` aligns it, where it can be aligned."""
    overlap = None
    if len(rows[0]) >= NEIGHBOURS + 2:
        rng = np.random.Generator(np.random.Philox(seed))
        sample = rng.permutation(len(rows[0]))[:_QUERIES]
        overlap = neighbour_overlap(new, old, rows, sample)
    if rotation is None:
        return Stability(len(rows[0]), overlap)
    cosines = aligned_cosines(new.vectors, old.vectors, rows, rotation)
    quantile = float(np.quantile(cosines, 0.05))
    return Stability(len(rows[0]), overlap, float(cosines.mean()), quantile)


def aligned_cosines(
    new: Matrix, old: Matrix, rows: tuple[Rows, Rows], rotation: Rotation
) -> npt.NDArray[np.float64]:
    """Cosine of z R with the item's earlier vector, [S]; 0 where one of them is zero."""
    cosines = np.zeros(len(rows[0]))
    with threadpool_limits(limits=1):
        for start in range(0, len(rows[0]), _BLOCK):
            new_at, old_at = (each[start : start + _BLOCK] for each in rows)
            a = new[new_at].astype(np.float64) @ rotation
            b = old[old_at].astype(np.float64)
            lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosines[start : start + _BLOCK] = (a * b).sum(axis=1) / np.where(lengths, lengths, 1)
    return cosines


def neighbour_overlap(new: Side, old: Side, rows: tuple[Rows, Rows], sample: Rows) -> float:
    """Mean share of the 10 best shared items, without the item itself, that both agree on.

    `sample` [Q] are places among the shared items. Each version searches as its readers do, by its
    own query map; the two may have different dimensions.
    """
    found = [_nearest(side, at, sample) for side, at in zip((new, old), rows, strict=True)]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(*found, strict=True)]
    return float(np.mean(shared)) / NEIGHBOURS


def _nearest(side: Side, at: Rows, sample: Rows) -> Rows:
    """Places of the best shared items of each query, [Q, 10]; blocks bound the memory."""
    best = np.empty((len(sample), NEIGHBOURS), dtype=np.int64)
    for first in range(0, len(sample), _QUERY_BLOCK):
        places = sample[first : first + _QUERY_BLOCK]
        queries = side.query(np.asarray(side.vectors[at[places]]))
        scores = np.empty((len(places), len(at)), dtype=np.float32)
        for start in range(0, len(at), _BLOCK):
            scores[:, start : start + _BLOCK] = queries @ side.vectors[at[start : start + _BLOCK]].T
        scores[np.arange(len(places)), places] = -np.inf
        best[first : first + _QUERY_BLOCK] = np.argpartition(-scores, NEIGHBOURS - 1, axis=1)[
            :, :NEIGHBOURS
        ]
    return best
