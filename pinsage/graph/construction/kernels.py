"""The loops over edges: grouping, sorting, sampling, transposing, cutting 2**32 by weight.

All kernels are in this file: numba's cache on disk notices a change of the file that a kernel is
in, not of one that it calls into. Whatever runs in parallel writes to places of its own, so the
number of threads changes no bit. An array of weights may be empty: then edges have none.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)  # splitmix64's increment (Steele, Lea, Flood 2014)
_MIX1 = _U64(0xBF58476D1CE4E5B9)
_MIX2 = _U64(0x94D049BB133111EB)
_ITEM_BITS = 32
_ITEM_MASK = (1 << _ITEM_BITS) - 1
_VALUES = 1 << 32  # what the thresholds of a row share out
_SUM_BITS = 53  # bits of a row's total: a float64 holds it exactly


@numba.njit(cache=True)
def group_by_bucket(
    items: Any,
    contexts: Any,
    weights: Any,
    shift: Any,
    offsets: Any,
    keys: Any,
    grouped_weights: Any,
) -> None:
    """Pack edges as context << 32 | item, grouped by context >> shift, else in their order.

    `offsets` int64 [buckets + 1] must be 0 and gets where each group begins.
    """
    for k in range(len(items)):
        offsets[(contexts[k] >> shift) + 1] += 1
    for bucket in range(1, len(offsets)):
        offsets[bucket] += offsets[bucket - 1]
    cursor = offsets[:-1].copy()
    for k in range(len(items)):
        bucket = contexts[k] >> shift
        slot = cursor[bucket]
        cursor[bucket] = slot + 1
        keys[slot] = (np.int64(contexts[k]) << _ITEM_BITS) | np.int64(items[k])
        if len(weights):
            grouped_weights[slot] = weights[k]


@numba.njit(cache=True)
def count_keys(keys: Any, first: Any, counts: Any) -> None:
    """Add the edges of the contexts from `first` on to `counts`; keys of others are passed over."""
    for k in range(len(keys)):
        row = (keys[k] >> _ITEM_BITS) - first
        if 0 <= row < len(counts):
            counts[row] += 1


@numba.njit(cache=True)
def place_keys(
    keys: Any, weights: Any, first: Any, cursor: Any, items: Any, placed_weights: Any
) -> None:
    """Put each edge where its context's cursor points; an edge without a weight weighs 1."""
    for k in range(len(keys)):
        row = (keys[k] >> _ITEM_BITS) - first
        if 0 <= row < len(cursor):
            slot = cursor[row]
            cursor[row] = slot + 1
            items[slot] = keys[k] & _ITEM_MASK
            if len(placed_weights):
                placed_weights[slot] = weights[k] if len(weights) else 1.0


@numba.njit(inline="always")
def _mix(x: Any) -> Any:
    """splitmix64's finaliser: a bijection of uint64 whose output looks random."""
    x = (x ^ (x >> _U64(30))) * _MIX1
    x = (x ^ (x >> _U64(27))) * _MIX2
    return x ^ (x >> _U64(31))


@numba.njit
def _merge(items: Any, weights: Any) -> Any:
    """Sort a row and make one of repeats, in place; returns how many are left.

    Weights of repeats are added in the order in which they came; an edge of weight 0 is dropped.
    """
    if not len(weights):
        items.sort()
        kept = 0
        for k in range(len(items)):
            if kept == 0 or items[k] != items[kept - 1]:
                items[kept] = items[k]
                kept += 1
        return kept
    order = np.argsort(items, kind="mergesort")
    sorted_items, sorted_weights = items[order], weights[order]
    kept, k = 0, 0
    while k < len(order):
        item, total = sorted_items[k], 0.0
        while k < len(order) and sorted_items[k] == item:
            total += sorted_weights[k]
            k += 1
        if total > 0.0:
            items[kept], weights[kept] = item, total
            kept += 1
    return kept


@numba.njit
def _sample(items: Any, weights: Any, context: Any, seed: Any, size: Any) -> Any:
    """Keep the `size` items of a row whose hash is smallest, in place; returns how many are left.

    The hash of an item is a bijection for a context, so that no two are equal.
    """
    if len(items) <= size:
        return len(items)
    key = _mix(_U64(seed) * _GOLDEN + _U64(context))
    hashes = np.empty(len(items), dtype=np.uint64)
    for k in range(len(items)):
        hashes[k] = _mix(key + _U64(items[k]) * _GOLDEN)
    largest = np.sort(hashes)[size - 1]
    kept = 0
    for k in range(len(items)):
        if hashes[k] <= largest:
            items[kept] = items[k]
            if len(weights):
                weights[kept] = weights[k]
            kept += 1
    return kept


@numba.njit(parallel=True, cache=True)
def tidy_rows(
    starts: Any, items: Any, weights: Any, first: Any, seed: Any, size: Any, lengths: Any
) -> None:
    """Sort each row, merge repeats, and sample those of more than `size` edges (0: none).

    A row stays where it begins; `lengths` gets how many edges it has now.
    """
    for row in numba.prange(len(lengths)):
        start, stop = starts[row], starts[row + 1]
        own = weights[start:stop] if len(weights) else weights
        kept = _merge(items[start:stop], own)
        if size:
            own = weights[start : start + kept] if len(weights) else weights
            kept = _sample(items[start : start + kept], own, first + row, seed, size)
        lengths[row] = kept


@numba.njit(cache=True)
def close_gaps(starts: Any, lengths: Any, items: Any, weights: Any) -> Any:
    """Move tidy rows together, in place; returns the number of edges."""
    end = 0
    for row in range(len(lengths)):
        for k in range(starts[row], starts[row] + lengths[row]):
            items[end] = items[k]
            if len(weights):
                weights[end] = weights[k]
            end += 1
    return end


@numba.njit(cache=True)
def count_items(items: Any, counts: Any) -> None:
    """Add the number of edges of each item to `counts`."""
    for k in range(len(items)):
        counts[items[k]] += 1


@numba.njit(cache=True)
def place_transposed(
    indptr: Any,
    position: Any,
    items: Any,
    weights: Any,
    first: Any,
    cursor: Any,
    contexts: Any,
    placed_weights: Any,
) -> None:
    """Put a stretch of context → item edges, from `position` on, where its items' cursors point.

    Edges of items before `first`, or past the last cursor, are passed over.
    """
    context = np.searchsorted(indptr, position, side="right") - 1
    for k in range(len(items)):
        while indptr[context + 1] <= position + k:
            context += 1
        row = np.int64(items[k]) - first
        if 0 <= row < len(cursor):
            slot = cursor[row]
            cursor[row] = slot + 1
            contexts[slot] = context
            if len(weights):
                placed_weights[slot] = weights[k]


@numba.njit
def _cut(weights: Any, thresholds: Any) -> None:
    size = len(weights)
    bits = _SUM_BITS
    while size >> (_SUM_BITS - bits):
        bits -= 1
    _, exponent = math.frexp(weights.max())
    total = _U64(0)
    shares = np.empty(size, dtype=np.uint64)
    for k in range(size):
        shares[k] = max(_U64(1), _U64(math.ldexp(weights[k], bits - exponent) + 0.5))
        total += shares[k]
    summed, bound = _U64(0), np.int64(0)
    for k in range(size):
        summed += shares[k]
        # The quotient in floating point is off by one at most; wrapped remainders tell exactly.
        quotient = _U64(np.float64(summed) / np.float64(total) * _VALUES)
        rest = np.int64((summed << _U64(32)) - quotient * total)
        exact = np.int64(quotient)
        if rest < 0:
            exact -= 1
        elif rest >= np.int64(total):
            exact += 1
        bound = max(bound + 1, min(exact, np.int64(_VALUES - (size - 1 - k))))
        thresholds[k] = bound - 1


@numba.njit(parallel=True, cache=True)
def cut_by_weight(starts: Any, weights: Any, thresholds: Any) -> None:
    """Share out the 2**32 values of a draw among the edges of each row, by weight, uint32 [E].

    With w_1 … w_d > 0 the weights of a row, each is first made an integer,
    q_k = max(1, ⌊w_k · 2^s + ½⌋), where 2^s lifts the largest weight into [2^(52 − b), 2^(53 − b))
    and b is the number of bits of d. With S their sum, edge k ends before the value

        B_k = max(B_{k−1} + 1, min(⌊2^32 (q_1 + … + q_k) / S⌋, 2^32 − (d − k)))

    and its threshold is B_k − 1. This is cumulative rounding, exact in integers, in which every
    edge keeps at least one value; B_d = 2^32.
    """
    for row in numba.prange(len(starts) - 1):
        if starts[row] < starts[row + 1]:
            edges = slice(starts[row], starts[row + 1])
            _cut(weights[edges], thresholds[edges])
