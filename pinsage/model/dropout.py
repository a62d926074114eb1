"""Whose id vector is hidden in a step: a function of (key, item row), not of the batch's make-up.

A sequential generator would give an item another draw in every batch that it stands elsewhere in.
By a hash, an item is hidden or shown alike on every process that computes it, and integer
arithmetic modulo 2^64 gives the same bits on every device.
"""

from __future__ import annotations

from torch import Tensor

# The mixing function of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
_GAMMA = 0x9E3779B97F4A7C15
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = 31
_WORD = (1 << 64) - 1
_BITS = 24  # of each draw: more than a share of items can be told apart by


def hidden(rows_S: Tensor, key: int, share: float) -> Tensor:
    """Bool [S], True for `share` of all rows; rows are int64, a key may be any integer."""
    bits_S = rows_S * _signed(_GAMMA) + _signed(_mixed(key & _WORD))
    for shift, factor in _ROUNDS:
        bits_S = (bits_S ^ _shifted(bits_S, shift)) * _signed(factor)
    bits_S = bits_S ^ _shifted(bits_S, _LAST)
    return _shifted(bits_S, 64 - _BITS) < round(share * (1 << _BITS))


def _shifted(bits_S: Tensor, shift: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift fills with the sign."""
    return (bits_S >> shift) & ((1 << (64 - shift)) - 1)


def _mixed(word: int) -> int:
    for shift, factor in _ROUNDS:
        word = ((word ^ (word >> shift)) * factor) & _WORD
    return word ^ (word >> _LAST)


def _signed(word: int) -> int:
    """The int64 with the same 64 bits."""
    return word - (1 << 64) if word >> 63 else word
