"""Metrics of item-to-item ranking (PinSage §4), as functions of the positives' ranks.

A rank is a float64 ≥ 1 over the full catalog without the query; ties stand in the middle of their
group, so ranks may be halves. Every metric is a mean over pairs of a value in [0, 1].
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pinsage.errors import ConfigError

Ranks = npt.NDArray[np.float64]
PairValues = npt.NDArray[np.float64]

PAPER_BLOCK = 100
_FEWEST_BLOCKS = 500
_log = logging.getLogger(__name__)


def hits(ranks: Ranks, k: int) -> PairValues:
    """1 where the positive is among the K best, else 0; float64 [P].

    Its mean is hit-rate@K: "the fraction of queries q where i was ranked among the top K of the
    test sample" (PinSage §4.2, K = 500 of 5 million).
    """
    return (ranks <= k).astype(np.float64)


def reciprocal_ranks(ranks: Ranks, block: int = 1) -> PairValues:
    """1 / rank, or 1 / ⌈rank / block⌉ where `block` > 1; float64 [P].

    The mean for `block` = 1 is the mean reciprocal rank (Voorhees, TREC-8, 1999). The paper scales
    it by blocks of 100 ranks, so that ranks 1,000 and 2,000 of 5 million still differ (§4.2).
    """
    if block < 1:
        raise ConfigError(f"mrr_block: expected at least 1 rank a block (got {block})")
    return 1.0 / (ranks if block == 1 else np.ceil(ranks / block))


def hit_rate(ranks: Ranks, k: int) -> float:
    """Share of pairs whose positive is among the K best; NaN without pairs."""
    return _mean(hits(ranks, k))


def mean_reciprocal_rank(ranks: Ranks, block: int = 1) -> float:
    """Mean of 1 / ⌈rank / block⌉, of 1 / rank where `block` is 1; NaN without pairs."""
    return _mean(reciprocal_ranks(ranks, block))


def fit_block(num_items: int) -> int:
    """Ranks a block of the scaled MRR that fit a catalog: ⌈N / 500⌉, at most the paper's 100.

    The paper's share, 100 of 5 million, would be one rank (the plain MRR) in any catalog under
    50,000 items. What its block is for is that ranks deep in the list still differ, so the
    catalog is cut into at least 500 steps where it has that many items; from 50,000 items on the
    step is the paper's own.
    """
    return max(1, min(PAPER_BLOCK, math.ceil(num_items / _FEWEST_BLOCKS)))


def usable_ks(ks: Sequence[int], num_items: int) -> tuple[int, ...]:
    """The distinct cut-offs below the catalog's size, ascending; the others are logged.

    Raises ConfigError where none is left.
    """
    usable = tuple(sorted({k for k in ks if k < num_items}))
    dropped = sorted(set(ks) - set(usable))
    if dropped:
        _log.warning("hit-rate@K is 1 by definition in %d items for K = %s: left out",
                     num_items, ", ".join(map(str, dropped)))  # fmt: skip
    if not usable:
        raise ConfigError(
            f"evaluation.ks: every cut-off is as large as the catalog of {num_items} items "
            f"(got {list(ks)}); add a smaller one"
        )
    return usable


def headline_k(ks: Sequence[int]) -> int:
    """The cut-off that choices are made on: the largest up to 100, else the smallest."""
    return max((k for k in ks if k <= 100), default=min(ks))


def _mean(values: PairValues) -> float:
    return float(values.mean()) if len(values) else math.nan
