"""Hit-rate@K: how often the positive is among the K best (PinSage §4.2)."""

from __future__ import annotations

import numpy as np

from pinsage.evaluation.metrics.pair_values import PairValues, Ranks, mean


def hits(ranks: Ranks, k: int) -> PairValues:
    """1 where the positive is among the K best, else 0; float64 [P].

    Its mean is hit-rate@K: "the fraction of queries q where i was ranked among the top K of the
    test sample" (PinSage §4.2, K = 500 of 5 million).
    """
    return (ranks <= k).astype(np.float64)


def hit_rate(ranks: Ranks, k: int) -> float:
    """Share of pairs whose positive is among the K best; NaN without pairs."""
    return mean(hits(ranks, k))
