"""Recall@K of a user's list, as NGCF (Wang et al., SIGIR 2019) and LightGCN (2020) count it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.metrics.pair_values import PairValues


def recall(found: npt.NDArray[np.bool_], num_relevant: npt.NDArray[np.integer]) -> PairValues:
    """Share of a user's relevant items that are in the list; float64 [U], NaN where none is.

    `found` is bool [U, K], whether the item at each place of the list is relevant; `num_relevant`
    [U] counts all of the user's, in the list or not. With more than K relevant items the best
    possible list stays below 1: some authors divide by min(K, relevant) instead.
    """
    hits = found.sum(axis=1, dtype=np.float64)
    relevant = num_relevant.astype(np.float64)
    values: PairValues = np.full(len(hits), np.nan)
    np.divide(hits, relevant, out=values, where=relevant > 0)
    return values
