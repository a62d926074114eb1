"""Random walks on the bipartite graph (PinSage §3.1; Pixie, Eksombatchai et al. 2018).

A hop goes item → context → item, each uniformly among the edges; after a hop the walk ends with
probability `restart`. Randomness is counter-based: hop h of walk j from item u under seed s is a
pure function of (s, u, j, h), so any number of threads, in any order, visits the same items.

All kernels are in this file: numba's cache on disk notices a change of the file that a kernel is
in, not of one that it calls into.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.graph.bipartite import BipartiteGraph

_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)  # splitmix64's increment (Steele, Lea, Flood 2014)
_MIX1 = _U64(0xBF58476D1CE4E5B9)
_MIX2 = _U64(0x94D049BB133111EB)
_LOW = _U64(0xFFFFFFFF)
_NOWHERE = -1
EMPTY = -1  # in place of an item row: no neighbour, a free slot of a counter
_ITEM_BITS = 32
_ITEM_MASK = (1 << _ITEM_BITS) - 1
_BLOCK = 64  # items a thread takes at a time: shares one counter, still balances hubs


@numba.njit(inline="always")
def mix(x: Any) -> Any:
    """splitmix64's finaliser: a bijection of uint64 whose output looks random."""
    x = (x ^ (x >> _U64(30))) * _MIX1
    x = (x ^ (x >> _U64(27))) * _MIX2
    return x ^ (x >> _U64(31))


@numba.njit(inline="always")
def walk_key(seed: Any, item: Any, walk: Any) -> Any:
    """The state that all draws of one walk are derived from."""
    return mix(mix(_U64(seed) * _GOLDEN + _U64(item)) + _U64(walk) * _GOLDEN)


@numba.njit(inline="always")
def hop_draw(key: Any, hop: Any) -> Any:
    """Draw of a hop: the high half chooses the context, the low half the item."""
    return mix(key + _U64(2 * hop + 1) * _GOLDEN)


@numba.njit(inline="always")
def ends(key: Any, hop: Any, threshold: Any) -> Any:
    """Whether a walk ends after this hop."""
    return mix(key + _U64(2 * hop + 2) * _GOLDEN) < threshold


@numba.njit(inline="always")
def _pick(half: Any, start: Any, stop: Any) -> Any:
    # Multiply-shift maps 32 random bits to [0, degree) without a division (Lemire 2019).
    return start + np.int64((half * _U64(stop - start)) >> _U64(32))


@numba.njit(inline="always")
def take_hop(
    item: Any,
    draw: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
) -> Any:
    """The item after one hop, or -1 from an isolated item."""
    start, stop = item_indptr[item], item_indptr[item + 1]
    if start == stop:
        return _NOWHERE
    context = item_indices[_pick(draw >> _U64(32), start, stop)]
    start, stop = context_indptr[context], context_indptr[context + 1]
    return np.int64(context_indices[_pick(draw & _LOW, start, stop)])


def end_threshold(restart: float) -> np.uint64:
    """`restart` as a bound on a uint64 draw."""
    return _U64(int(restart * 2.0**64))


@numba.njit(parallel=True, cache=True)
def _count_visits(
    query_rows: Any,
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    counts: Any,
) -> None:
    for position in numba.prange(len(query_rows)):
        start = np.int64(query_rows[position])
        for walk in range(walks):
            key = walk_key(seed, start, walk)
            item = start
            for hop in range(length):
                item = take_hop(
                    item, hop_draw(key, hop), item_indptr, item_indices, context_indptr,
                    context_indices,
                )  # fmt: skip
                if item < 0:
                    break
                if item != start:
                    counts[position, item] += 1
                if ends(key, hop, threshold):
                    break


def visit_counts(
    graph: BipartiteGraph,
    query_rows: npt.NDArray[np.int32],
    *,
    walks: int,
    length: int,
    restart: float,
    seed: int,
) -> npt.NDArray[np.int32]:
    """Visits of every item by the walks from each query, int32 [B, N]; a query's own are 0."""
    counts = np.zeros((len(query_rows), graph.num_items), dtype=np.int32)
    _count_visits(
        query_rows, walks, length, end_threshold(restart), seed, graph.item_indptr,
        graph.item_indices, graph.context_indptr, graph.context_indices, counts,
    )  # fmt: skip
    return counts


@numba.njit
def _add_visit(item: Any, keys: Any, counts: Any, used: Any, num_used: Any) -> Any:
    """Count a visit in an open-addressing table; `used` lists the slots taken."""
    mask = len(keys) - 1
    slot = np.int64(mix(_U64(item)) & _U64(mask))
    while keys[slot] != item:
        if keys[slot] == EMPTY:
            keys[slot] = item
            used[num_used] = slot
            num_used += 1
            break
        slot = (slot + 1) & mask
    counts[slot] += 1
    return num_used


@numba.njit
def _empty(keys: Any, counts: Any, used: Any) -> Any:
    """The counter's items, most visited first, as minus the count above and the row below.

    One sort so orders by count, then by item row. The counter is empty afterwards.
    """
    packed = np.empty(len(used), dtype=np.int64)
    for i, slot in enumerate(used):
        packed[i] = keys[slot] - (counts[slot] << _ITEM_BITS)
        keys[slot] = EMPTY
        counts[slot] = 0
    packed.sort()
    return packed


@numba.njit
def _take_top(keys: Any, counts: Any, used: Any, neighbors: Any, weights: Any) -> None:
    """Write the most visited items of the counter to a row of the table; empty the counter."""
    packed = _empty(keys, counts, used)
    top = min(len(packed), len(neighbors))
    total = 0
    for i in range(top):
        total -= packed[i] >> _ITEM_BITS
    for i in range(top):
        neighbors[i] = packed[i] & _ITEM_MASK
        weights[i] = -(packed[i] >> _ITEM_BITS) / total


@numba.njit
def _walk(
    start: Any,
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    keys: Any,
    counts: Any,
    used: Any,
) -> Any:
    """Count the visits of all walks from an item; returns how many items were met."""
    num_used = 0
    for walk in range(walks):
        key = walk_key(seed, start, walk)
        item = np.int64(start)
        for hop in range(length):
            item = take_hop(
                item, hop_draw(key, hop), item_indptr, item_indices, context_indptr,
                context_indices,
            )  # fmt: skip
            if item < 0:
                break
            if item != start:
                num_used = _add_visit(item, keys, counts, used, num_used)
            if ends(key, hop, threshold):
                break
    return num_used


@numba.njit
def _num_slots(visits: Any) -> Any:
    """A power of two of slots that stays half empty."""
    slots = 16
    while slots < 2 * visits:
        slots *= 2
    return slots


@numba.njit(parallel=True, cache=True)
def fill_table(
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    items: Any,
    neighbors: Any,
    weights: Any,
) -> None:
    """Walk from each of B `items`; write its most visited ones and their importance into row b."""
    num_items = len(items)
    slots = _num_slots(walks * length)
    for block in numba.prange((num_items + _BLOCK - 1) // _BLOCK):
        keys = np.full(slots, EMPTY, dtype=np.int64)
        counts = np.zeros(slots, dtype=np.int64)
        used = np.empty(walks * length, dtype=np.int64)
        for place in range(block * _BLOCK, min(num_items, (block + 1) * _BLOCK)):
            num_used = _walk(
                np.int64(items[place]), walks, length, threshold, seed, item_indptr, item_indices,
                context_indptr, context_indices, keys, counts, used,
            )  # fmt: skip
            _take_top(keys, counts, used[:num_used], neighbors[place], weights[place])


@numba.njit(parallel=True, cache=True)
def _fill_windows(
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    left_indptr: Any,
    left_indices: Any,
    first: Any,
    last: Any,
    rows: Any,
) -> None:
    num_items = len(item_indptr) - 1
    visits = walks * length
    slots = _num_slots(min(visits, num_items))
    for block in numba.prange((num_items + _BLOCK - 1) // _BLOCK):
        keys = np.full(slots, EMPTY, dtype=np.int64)
        counts = np.zeros(slots, dtype=np.int64)
        used = np.empty(min(visits, num_items), dtype=np.int64)
        for start in range(block * _BLOCK, min(num_items, (block + 1) * _BLOCK)):
            num_used = _walk(
                start, walks, length, threshold, seed, item_indptr, item_indices,
                context_indptr, context_indices, keys, counts, used,
            )  # fmt: skip
            packed = _empty(keys, counts, used[:num_used])
            met = np.int64(0)
            for place in range(first, min(last, num_used)):
                item = packed[place] & _ITEM_MASK
                left = left_indices[left_indptr[start] : left_indptr[start + 1]]
                found = np.searchsorted(left, item)
                if found < len(left) and left[found] == item:
                    continue
                # Reservoir sampling (Vitter's algorithm R) fills, then replaces, at random.
                slot = met
                if met >= rows.shape[1]:
                    draw = mix(walk_key(seed, start, place) ^ _GOLDEN)
                    slot = np.int64(((draw >> _U64(32)) * _U64(met + 1)) >> _U64(32))
                if slot < rows.shape[1]:
                    rows[start, slot] = item
                met += 1
            kept = min(met, rows.shape[1])
            for place in range(kept - 1, 0, -1):  # Fisher-Yates: the order says nothing of rank
                draw = mix(walk_key(seed, start, last + place) ^ _GOLDEN)
                other = np.int64(((draw >> _U64(32)) * _U64(place + 1)) >> _U64(32))
                rows[start, place], rows[start, other] = rows[start, other], rows[start, place]


def rank_windows(
    graph: BipartiteGraph,
    left_indptr: npt.NDArray[np.int64],
    left_indices: npt.NDArray[np.int32],
    *,
    walks: int,
    first: int,
    last: int,
    size: int,
    seed: int,
    length: int = 10,
    restart: float = 0.15,
) -> npt.NDArray[np.int32]:
    """A sample of each item's window of ranks by personalised PageRank, int32 [N, size].

    Items are ranked by the visits of `walks` walks with restart (Fogaras et al. 2005 estimate
    PageRank so); of the ranks first to last - 1, from 0, up to `size` are kept at random, in random
    order, -1 where there are fewer. Left out are the item itself and those that the CSR
    `left_indptr` int64 [N + 1], `left_indices` int32, ascending, names for it.
    """
    rows = np.full((graph.num_items, size), EMPTY, dtype=np.int32)
    _fill_windows(
        walks, length, end_threshold(restart), seed, graph.item_indptr, graph.item_indices,
        graph.context_indptr, graph.context_indices, left_indptr, left_indices, first, last, rows,
    )  # fmt: skip
    return rows


@numba.njit(inline="always")
def _hop_with_newcomer(
    item: Any,
    draw: Any,
    own: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
) -> Any:
    """`take_hop` in the graph with one item more, the last row, whose contexts are `own`.

    No array is copied: the newcomer stands behind the others of each of its contexts.
    """
    newcomer = np.int64(len(item_indptr) - 1)
    if item == newcomer:
        context = own[_pick(draw >> _U64(32), np.int64(0), np.int64(len(own)))]
    else:
        start, stop = item_indptr[item], item_indptr[item + 1]
        context = item_indices[_pick(draw >> _U64(32), start, stop)]
    start, stop = context_indptr[context], context_indptr[context + 1]
    place = np.searchsorted(own, context)
    joined = np.int64(place < len(own) and own[min(place, len(own) - 1)] == context)
    chosen = _pick(draw & _LOW, start, stop + joined)
    return newcomer if chosen == stop else np.int64(context_indices[chosen])


@numba.njit(parallel=True, cache=True)
def fill_newcomers(
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    own_indptr: Any,
    own_indices: Any,
    neighbors: Any,
    weights: Any,
) -> None:
    """`fill_table` for items that the graph has not, each as if it alone were added to it.

    The contexts of newcomer m are `own_indices[own_indptr[m]:own_indptr[m + 1]]`, ascending.
    """
    start = np.int64(len(item_indptr) - 1)
    slots = _num_slots(walks * length)
    for position in numba.prange(len(own_indptr) - 1):
        own = own_indices[own_indptr[position] : own_indptr[position + 1]]
        keys = np.full(slots, EMPTY, dtype=np.int64)
        counts = np.zeros(slots, dtype=np.int64)
        used = np.empty(walks * length, dtype=np.int64)
        num_used = 0
        for walk in range(walks if len(own) else 0):
            key = walk_key(seed, start, walk)
            item = start
            for hop in range(length):
                item = _hop_with_newcomer(
                    item, hop_draw(key, hop), own, item_indptr, item_indices, context_indptr,
                    context_indices,
                )  # fmt: skip
                if item != start:
                    num_used = _add_visit(item, keys, counts, used, num_used)
                if ends(key, hop, threshold):
                    break
        _take_top(keys, counts, used[:num_used], neighbors[position], weights[position])
