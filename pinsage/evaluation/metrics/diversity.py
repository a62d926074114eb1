"""Intra-list distance: how unlike each other the items of a list are (Zhang & Hurley 2008)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BLOCK = 1 << 14


def intra_list_distance(lists: npt.NDArray[np.int32], vectors: npt.NDArray[np.float32]) -> float:
    """Mean of 1 − cosine over the pairs of each list, then over lists; NaN without a pair.

    `lists` is int32 [Q, K], K ≥ 2; `vectors` float32 [N, d], the space in which items are alike.
    A vector of zeros is at distance 1 from everything. All methods must be measured in one space,
    which none of them was made of: content, for methods that learn from interactions.
    """
    size = lists.shape[1]
    if len(lists) == 0 or size < 2:
        return float("nan")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
    total = 0.0
    for first in range(0, len(lists), _BLOCK):
        shown = unit[lists[first : first + _BLOCK]].astype(np.float64)  # [B, K, d]
        # Σ over ordered pairs of v·w is |Σ v|² less the items' own products.
        together = np.square(shown.sum(axis=1)).sum()
        total += together - np.square(shown).sum()
    return float(1.0 - total / (len(lists) * size * (size - 1)))
