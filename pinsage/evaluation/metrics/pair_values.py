"""What the metrics of single pairs share: one value in [0, 1] a pair, and their mean.

A rank is a float64 ≥ 1 over the full catalog without the query; ties stand in the middle of their
group, so ranks may be halves.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Ranks = npt.NDArray[np.float64]
PairValues = npt.NDArray[np.float64]


def mean(values: PairValues) -> float:
    """Mean of float64 [P]; NaN without pairs."""
    return float(values.mean()) if len(values) else math.nan
