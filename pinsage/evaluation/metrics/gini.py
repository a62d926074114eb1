"""Gini coefficient: how unequally items are shown (Gini 1912; Fleder & Hosanagar 2009)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def gini(shown: npt.NDArray[np.int64]) -> float:
    """Mean absolute difference of the counts over twice their mean; 0 where nothing is shown.

    `shown` is int64 [N], how many lists an item is in. 0 is all alike; 1 − 1/N one item only.
    """
    total = int(shown.sum())
    if total == 0:
        return 0.0
    size = len(shown)
    place = 2 * np.arange(1, size + 1) - size - 1
    return float((place * np.sort(shown)).sum() / (size * total))
