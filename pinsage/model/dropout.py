"""Whose id vector is hidden in a step: a function of (key, item row), not of the batch's make-up.

A sequential generator would give an item another draw in every batch that it stands elsewhere in.
By a hash, an item is hidden or shown alike on every process that computes it, and integer
arithmetic modulo 2^64 gives the same bits on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pinsage.graph.splitmix import GOLDEN, mixed, shifted, signed

_BITS = 24  # of each draw: more than a share of items can be told apart by


def hidden(rows_S: Tensor, key: int, share: float) -> Tensor:
    """Bool [S], True for `share` of all rows; rows are int64, a key may be any integer."""
    start = int(mixed(torch.tensor(signed(key))))
    bits_S = mixed(rows_S * signed(GOLDEN) + start)
    return shifted(bits_S, 64 - _BITS) < round(share * (1 << _BITS))
