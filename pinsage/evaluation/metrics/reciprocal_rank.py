"""Mean reciprocal rank, plain (Voorhees, TREC-8, 1999) and in blocks of ranks (PinSage §4.2)."""

from __future__ import annotations

import math

import numpy as np

from pinsage.errors import ConfigError
from pinsage.evaluation.metrics.pair_values import PairValues, Ranks, mean

PAPER_BLOCK = 100
_FEWEST_BLOCKS = 500


def reciprocal_ranks(ranks: Ranks, block: int = 1) -> PairValues:
    """1 / rank, or 1 / ⌈rank / block⌉ where `block` > 1; float64 [P].

    The paper scales ranks by blocks of 100, so that 1,000 and 2,000 of 5 million still differ.
    """
    if block < 1:
        raise ConfigError(f"mrr_block: expected at least 1 rank a block (got {block})")
    return 1.0 / (ranks if block == 1 else np.ceil(ranks / block))


def mean_reciprocal_rank(ranks: Ranks, block: int = 1) -> float:
    """Mean of 1 / ⌈rank / block⌉, of 1 / rank where `block` is 1; NaN without pairs."""
    return mean(reciprocal_ranks(ranks, block))


def fit_block(num_items: int) -> int:
    """Ranks a block of the scaled MRR that fit a catalog: ⌈N / 500⌉, at most the paper's 100.

    The paper's share, 100 of 5 million, would be one rank (the plain MRR) in any catalog under
    50,000 items. What its block is for is that ranks deep in the list still differ, so the
    catalog is cut into at least 500 steps where it has that many items; from 50,000 items on the
    step is the paper's own.
    """
    return max(1, min(PAPER_BLOCK, math.ceil(num_items / _FEWEST_BLOCKS)))
