"""NDCG@K with binary relevance (Järvelin & Kekäläinen, TOIS 2002), normalised as LightGCN does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.metrics.pair_values import PairValues


def ndcg(found: npt.NDArray[np.bool_], num_relevant: npt.NDArray[np.integer]) -> PairValues:
    """Discounted gain of a user's list over that of the best list; float64 [U], NaN where none is.

    A relevant item at place r = 1, 2, … gains 1 / log2(r + 1). The best list of K places holds
    min(K, relevant) relevant items, first of all. `found` is bool [U, K], whether the item at each
    place is relevant; `num_relevant` [U] counts all of the user's.
    """
    places = found.shape[1]
    discount = 1.0 / np.log2(np.arange(2, places + 2))
    best = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(num_relevant, places)]
    values: PairValues = np.full(len(found), np.nan)
    np.divide(found @ discount, best, out=values, where=best > 0)
    return values
