"""A map of the embedding: its two directions of most variance (PCA).

The directions are those of the data alone. Their signs, which PCA leaves open, are set by
popularity: popular items lie to the right of and above the others on balance. So the map looks
the same after a retraining that only turned or mirrored the space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinsage.report.cosines import Vectors

FITTED = 20_000  # rows that the directions are computed from; more would not move them visibly


@dataclass(frozen=True)
class Projection:
    """Items on a plane.

    Attributes:
        rows: int64 [P], catalog rows, ascending
        points: float64 [P, 2], centred on the fitted items, in units of the largest distance
            along an axis, rounded to 4 decimals
        explained: share of the variance along each of the two directions
        num_fitted: items that the directions were computed from
    """

    rows: npt.NDArray[np.int64]
    points: npt.NDArray[np.float64]
    explained: tuple[float, float]
    num_fitted: int


def project(vectors: Vectors, degree: npt.NDArray[np.int64], *, most: int, seed: int) -> Projection:
    """Project at most `most` items, drawn by the seed; `vectors` [N, d], `degree` int64 [N]."""
    order = np.random.default_rng(seed).permutation(len(vectors))
    fitted, rows = np.sort(order[:FITTED]), np.sort(order[:most])
    basis = np.asarray(vectors[fitted], dtype=np.float64)
    centre = basis.mean(axis=0)
    directions, explained = _directions(basis - centre)
    popularity = np.log1p(degree[fitted].astype(np.float64))
    directions = directions * _signs((basis - centre) @ directions, popularity)
    points = (np.asarray(vectors[rows], dtype=np.float64) - centre) @ directions
    reach = float(np.abs(points).max(initial=0.0)) or 1.0
    # Rounded, so that the last bits of a sum, which depend on the machine, are not in the page;
    # adding zero turns -0.0 into 0.0.
    return Projection(rows, (points / reach).round(4) + 0.0, explained, len(fitted))


def _directions(
    centred: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], tuple[float, float]]:
    """The two leading eigenvectors of the covariance as columns [d, 2], with their shares."""
    covariance = centred.T @ centred
    values, columns = np.linalg.eigh(covariance)  # ascending
    leading = columns[:, ::-1][:, :2]
    if leading.shape[1] < 2:  # embeddings of one dimension
        leading = np.column_stack([leading, np.zeros(len(leading))])
    total = max(float(values.sum()), 0.0)
    shares = [max(float(value), 0.0) / total if total else 0.0 for value in values[::-1][:2]]
    first, second = (*shares, 0.0)[:2]
    return leading, (first, second)


def _signs(
    points: npt.NDArray[np.float64], popularity: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """+1 or −1 a direction, so that popularity does not fall along it; float64 [2]."""
    lean = (popularity - popularity.mean()) @ points
    # Where all items are equally popular, the point farthest out lies on the positive side.
    farthest = points[np.abs(points).argmax(axis=0), [0, 1]]
    scale = np.abs(points).sum(axis=0) * max(float(np.ptp(popularity)), 1e-12)
    decided = np.where(np.abs(lean) > 1e-9 * scale, lean, farthest)
    return np.where(decided < 0, -1.0, 1.0)
