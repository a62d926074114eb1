"""Novelty: how surprising what is shown is (Zhou et al., PNAS 2010: mean self-information)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def novelty(
    lists: npt.NDArray[np.int32], degree: npt.NDArray[np.int64], num_contexts: int
) -> float:
    """Mean of −log2 of the share of contexts that hold an item, in bits; NaN without a list.

    `lists` is int32 [Q, K], items shown; `degree` int64 [N], each item's training contexts. One
    context is added to the item's and to all, so that an item nobody had is finite: log2(C + 1).
    """
    if lists.size == 0:
        return float("nan")
    share = (degree[lists] + 1) / (num_contexts + 1)
    return float(-np.log2(share).mean())
