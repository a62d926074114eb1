"""SplitMix64's mixing function (Steele, Lea & Flood, OOPSLA 2014) on int64 tensors.

torch has no arithmetic on uint64. In two's complement a product modulo 2^64 is the same bits for
signed and unsigned words, so int64 gives the bits of `walks.mix` on every device; shifts must be
filled with zeros by hand, and words compared with their highest bit flipped.
"""

from __future__ import annotations

from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15
WORD = (1 << 64) - 1
_HIGHEST = 1 << 63


def mixed(bits: Tensor) -> Tensor:
    """A bijection of int64 words whose output looks random."""
    bits = (bits ^ shifted(bits, 30)) * signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ shifted(bits, 27)) * signed(0x94D049BB133111EB)
    return bits ^ shifted(bits, 31)


def shifted(bits: Tensor, shift: int) -> Tensor:
    """Shift right and fill with zeros; torch's own shift fills with the sign."""
    return (bits >> shift) & ((1 << (64 - shift)) - 1)


def below(bits: Tensor, bound: int) -> Tensor:
    """Whether each word is below `bound`, both taken as unsigned."""
    return (bits ^ signed(_HIGHEST)) < signed(bound ^ _HIGHEST)


def signed(word: int) -> int:
    """The int64 with the lowest 64 bits of an integer."""
    word &= WORD
    return word - (1 << 64) if word & _HIGHEST else word
