"""A turn of the space after which short codes lose less (optimized product quantization).

A code of 4 bits stands for some dimensions together. What it loses grows with the geometric mean of
their variances, so the turn gives every code the same product of them: along the principal axes of
what is coded, strong ones with weak ones (Ge, He, Ke, Sun, Optimized Product Quantization for
Approximate Nearest Neighbor Search, CVPR 2013, the parametric solution). Inner products stay.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def balancing_turn(residuals: Matrix, parts: int) -> Matrix:
    """An orthogonal float32 [d, d] for residuals float32 [N, d] and `parts`, which divides d.

    Rows that belong to one part stand together.
    """
    width = residuals.shape[1]
    variances, axes = np.linalg.eigh(residuals.T.astype(np.float64) @ residuals)
    floor = max(float(variances[-1]), np.finfo(np.float64).tiny) * 1e-12
    # At least 0, so that a part which has more axes has no smaller sum.
    logs = np.log(np.maximum(variances, floor)) - np.log(floor)
    members: list[list[int]] = [[] for _ in range(parts)]
    sums = np.zeros(parts)
    for axis in np.argsort(-logs, kind="stable"):
        full = np.array([len(each) == width // parts for each in members])
        part = int(np.argmin(np.where(full, np.inf, sums)))
        members[part].append(int(axis))
        sums[part] += logs[axis]
    order = np.concatenate([np.array(each) for each in members])
    return np.ascontiguousarray(axes[:, order].T, dtype=np.float32)
