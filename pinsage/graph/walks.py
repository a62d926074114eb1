"""Random walks on the bipartite graph, level by level (PinSage §3.1; Pixie, Eksombatchai 2018).

A hop goes item → context → item, uniformly among the edges, or by their weights; after a hop the
walk ends with probability `restart`. Randomness is counter-based: hop h of walk j from item u under
seed s is a pure function of (s, u, j, h), so threads visit the same items in any order.

Memory is read at random. So all walks of an item, or of several items where each has few, take a
step together: each one's next address is computed and prefetched, and when the last one's is, the
first one's has arrived. Nothing is allocated between items; no branch depends on what is drawn.

All kernels of the walks are in this file: numba's cache on disk notices a change of the file that a
kernel is in, not of one that it calls into.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from pinsage.graph.intrinsics import prefetch, take_ticket

_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)  # splitmix64's increment (Steele, Lea, Flood 2014)
_MIX1, _MIX2 = _U64(0xBF58476D1CE4E5B9), _U64(0x94D049BB133111EB)
_LOW = _U64(0xFFFFFFFF)
_HALF, _ONE = _U64(32), _U64(1)
START_BITS, LAST_START = _U64(33), _U64((1 << 33) - 1)
EMPTY = -1  # in place of an item row: no neighbour
_FREE = _U64(0xFFFFFFFFFFFFFFFF)  # a free slot of a counter
_IN_FLIGHT = 160  # walks that hide memory's latency; more only need more of the cache
CHECKED_FIRST = 64  # walks after which early stopping looks; again whenever they have doubled


class Edges(NamedTuple):
    """One direction of the graph, as the kernels read it.

    Attributes:
        slots: uint64 [R], a row's start in the low 33 bits and its degree above: read at once
        indices: uint32 [E]
        thresholds: uint32 [E], rising in each row to 2**32 - 1, or None: edges weigh the same
    """

    slots: npt.NDArray[np.uint64]
    indices: npt.NDArray[np.uint32]
    thresholds: npt.NDArray[np.uint32] | None


class Walks(NamedTuple):
    """What is walked.

    Attributes:
        number: W, walks an item
        length: L, most hops a walk
        threshold: a uint64 draw below it ends a walk after a hop; see `end_threshold`
        seed: what all draws are derived from
        stable, size: `size` items with `stable` visits each end an item's walks early, unless 0
    """

    number: int
    length: int
    threshold: np.uint64
    seed: int
    stable: int = 0
    size: int = 0


class Scratch(NamedTuple):
    """What a thread writes while it walks from a group of G items, W walks each, of L hops.

    Attributes:
        keys: uint64 [G W], of the walks that go on
        draws: uint64 [G W], the half of theirs that chooses the item
        places: uint64 [G W], the row that each is at, or the edge that it is about to take
        ends: int64 [G + 1], where the walks of each item of the group begin among these
        met: uint32 [L, G, W], the items visited by hop and by item of the group, by walk
        num_met: int64 [L, G]
        counter: uint64 [a power of two], a visited item's row and its visits, or free
        used: uint64 [L W + 1], the counter's slots in use by first visit; then what was in them
        ranks: int64 [L W + 1], how many items have each count; then the rank of the next of them
    """

    keys: Any
    draws: Any
    places: Any
    ends: Any
    met: Any
    num_met: Any
    counter: Any
    used: Any
    ranks: Any


def end_threshold(restart: float) -> np.uint64:
    """`restart` as a bound on a uint64 draw."""
    return _U64(int(restart * 2.0**64))


@numba.njit(inline="always")
def _mix(x: Any) -> Any:
    """splitmix64's finaliser: a bijection of uint64 whose output looks random."""
    x = (x ^ (x >> _U64(30))) * _MIX1
    x = (x ^ (x >> _U64(27))) * _MIX2
    return x ^ (x >> _U64(31))


@numba.njit(inline="always")
def walk_key(seed: Any, item: Any, walk: Any) -> Any:
    """The state that all draws of one walk are derived from."""
    return _mix(_mix(_U64(seed) * _GOLDEN + _U64(item)) + _U64(walk) * _GOLDEN)


@numba.njit(inline="always")
def hop_draw(key: Any, hop: Any) -> Any:
    """Draw of a hop: the high half chooses the context, the low half the item."""
    return _mix(key + _U64(2 * hop + 1) * _GOLDEN)


@numba.njit(inline="always")
def goes_on(key: Any, hop: Any, threshold: Any) -> Any:
    """1 where a walk goes on after this hop, 0 where it ends."""
    return np.int64(_mix(key + _U64(2 * hop + 2) * _GOLDEN) >= threshold)


@numba.njit
def _choose(slot: Any, half: Any, thresholds: Any) -> Any:
    """The edge of a row that 32 random bits choose."""
    low, size = slot & LAST_START, slot >> START_BITS
    # Multiply-shift maps them to [0, degree) without a division (Lemire 2019).
    at = low + ((half * size) >> _HALF)
    if thresholds is None:
        return at
    # The first whose threshold is not below them: near where it were if all weighed the same.
    end, step = low + size, _ONE
    if thresholds[at] < half:
        low = at + _ONE
        while low + step < end and thresholds[low + step - _ONE] < half:
            low, step = low + step, step + step
        size = min(step, end - low)
    else:
        while at >= low + step and thresholds[at - step] >= half:
            at, step = at - step, step + step
        low = max(low + step, at + _ONE) - step
        size = at + _ONE - low
    while size > _ONE:
        step = size >> _ONE
        low += step * _U64(thresholds[low + step - _ONE] < half)
        size -= step
    return low


@numba.njit
def _walk(starts: Any, first: Any, last: Any, walks: Any, forth: Any, back: Any, s: Any) -> None:
    """Walks first to last - 1 from each of a group of items; appends to `met`."""
    alive = np.int64(0)
    for own in range(len(starts)):
        s.ends[own] = alive
        start = np.uint32(starts[own])
        if forth.slots[start] >> START_BITS:
            for walk in range(first, last):
                s.keys[alive] = walk_key(walks.seed, start, walk)
                s.places[alive] = start
                alive += 1
    s.ends[len(starts)] = alive
    for hop in range(walks.length):
        if alive == 0:
            break
        _step_to_contexts(alive, hop, forth, back, s)
        alive = _step_to_items(len(starts), hop, walks.threshold, forth, back, s)


@numba.njit
def _step_to_contexts(alive: Any, hop: Any, forth: Any, back: Any, s: Any) -> None:
    """Bring each walk to a context, and up to the edge that leads on from it."""
    for i in range(alive):
        draw = hop_draw(s.keys[i], hop)
        s.draws[i] = draw & _LOW
        s.places[i] = _choose(forth.slots[s.places[i]], draw >> _HALF, forth.thresholds)
        prefetch(forth.indices, s.places[i])
    for i in range(alive):
        s.places[i] = forth.indices[s.places[i]]
        prefetch(back.slots, s.places[i])
    for i in range(alive):
        s.places[i] = _choose(back.slots[s.places[i]], s.draws[i], back.thresholds)
        prefetch(back.indices, s.places[i])


@numba.njit
def _step_to_items(num_starts: Any, hop: Any, threshold: Any, forth: Any, back: Any, s: Any) -> Any:
    """Note the items reached, and close ranks: returns how many walks go on."""
    alive, begin = np.int64(0), s.ends[0]
    for own in range(num_starts):
        s.ends[own], end = alive, s.ends[own + 1]
        met, num_met = s.met[hop, own], s.num_met[hop, own]
        for i in range(begin, end):
            key, item = s.keys[i], back.indices[s.places[i]]
            met[num_met] = item
            num_met += 1
            # Written where the next survivor belongs: one that ends is overwritten.
            s.keys[alive] = key
            s.places[alive] = item
            alive += goes_on(key, hop, threshold)
        s.num_met[hop, own] = num_met
        begin = end
    s.ends[num_starts] = alive
    for i in range(alive):
        prefetch(forth.slots, s.places[i])
    return alive


@numba.njit
def _count(own: Any, s: Any) -> Any:
    """Count the visits from an item of the group, by hop, then by walk; how many were met."""
    num_used = np.int64(0)
    mask = _U64(len(s.counter) - 1)
    for hop in range(len(s.met)):
        met = s.met[hop, own]
        for i in range(s.num_met[hop, own]):
            item = _U64(met[i])
            slot = ((item * _GOLDEN) >> _HALF) & mask
            packed = s.counter[slot]
            while packed != _FREE and packed >> _HALF != item:
                slot = (slot + _ONE) & mask
                packed = s.counter[slot]
            is_new = packed == _FREE
            s.counter[slot] = ((item << _HALF) if is_new else packed) + _ONE
            s.used[num_used] = slot
            num_used += np.int64(is_new)
    return num_used


@numba.njit
def _take(i: Any, start: Any, s: Any) -> Any:
    """Empty the i-th slot in use; its item and count, the latter 0 for the start itself."""
    packed = s.counter[s.used[i]]
    s.counter[s.used[i]] = _FREE
    return packed & ~_LOW if packed >> _HALF == _U64(start) else packed


@numba.njit
def _is_stable(start: Any, walks: Any, s: Any) -> Any:
    """Whether enough items have enough visits each, by the walks so far from a group of one."""
    num_stable = np.int64(0)
    for i in range(_count(0, s)):
        num_stable += np.int64(np.int64(_take(i, start, s) & _LOW) >= walks.stable)
    return num_stable >= walks.size


@numba.njit
def _rank(start: Any, own: Any, as_shares: Any, s: Any, neighbors: Any, weights: Any) -> None:
    """Write the items most visited from one of the group, by count, then by first visit."""
    num_used, most = _count(own, s), np.int64(0)
    s.num_met[:, own] = 0
    for i in range(num_used):
        s.used[i] = _take(i, start, s)
        count = np.int64(s.used[i] & _LOW)
        s.ranks[count] += 1
        most = max(most, count)
    rank = np.int64(0)
    for visits in range(most, 0, -1):  # a counting sort: where each count's items begin
        number = s.ranks[visits]
        s.ranks[visits] = rank
        rank += number
    top = min(rank, np.int64(len(neighbors)))
    s.ranks[0], total = rank, np.int64(0)
    for i in range(num_used):
        count = s.used[i] & _LOW
        rank = s.ranks[count]
        s.ranks[count] = rank + 1
        if rank < top:
            neighbors[rank] = s.used[i] >> _HALF
            weights[rank] = count
            total += np.int64(count)
    if as_shares:
        for i in range(top):
            weights[i] = np.float64(weights[i]) / total
    s.ranks[: most + 1] = 0


@numba.njit
def _scratch(group: Any, walks: Any) -> Any:
    visits = walks.number * walks.length
    slots = 16
    while slots < 2 * visits:  # stays half empty
        slots *= 2
    in_flight = group * walks.number
    return Scratch(
        np.empty(in_flight, dtype=np.uint64), np.empty(in_flight, dtype=np.uint64),
        np.empty(in_flight, dtype=np.uint64), np.zeros(group + 1, dtype=np.int64),
        np.empty((walks.length, group, walks.number), dtype=np.uint32),
        np.zeros((walks.length, group), dtype=np.int64), np.full(slots, _FREE, dtype=np.uint64),
        np.empty(visits + 1, dtype=np.uint64), np.zeros(visits + 1, dtype=np.int64),
    )  # fmt: skip


@numba.njit
def _walk_until_stable(start: Any, walks: Any, forth: Any, back: Any, joined: Any, s: Any) -> None:
    """Walk from a group of one until enough items have enough visits."""
    first, last = np.int64(0), np.int64(CHECKED_FIRST)
    while first < walks.number:
        last = min(last, walks.number)
        if joined is None:
            _walk(start, first, last, walks, forth, back, s)
        else:
            _walk_as_newcomer(joined, first, last, walks, forth, back, s)
        if last < walks.number and _is_stable(start[0], walks, s):
            break
        first, last = last, 2 * last


@numba.njit(parallel=True, cache=True)
def fill_table(
    starts: Any, walks: Any, forth: Any, back: Any, threads: Any, as_shares: Any,
    neighbors: Any, weights: Any,
) -> None:  # fmt: skip
    """Walk from each of M items; write its most visited ones, int32 [M, T] and float32 [M, T].

    Weights are shares of the row's visits, or else their numbers, exact up to 2**24.
    """
    may_stop = walks.stable > 0 and walks.number > CHECKED_FIRST
    group = 1 if may_stop else max(1, _IN_FLIGHT // walks.number)
    tickets = np.zeros(1, dtype=np.int64)
    for _ in numba.prange(threads):
        s = _scratch(group, walks)
        begin = take_ticket(tickets) * group
        while begin < len(starts):
            some = starts[begin : begin + group]
            if may_stop:
                _walk_until_stable(some, walks, forth, back, None, s)
            else:
                _walk(some, 0, walks.number, walks, forth, back, s)
            for own in range(len(some)):
                row = begin + own
                _rank(some[own], own, as_shares, s, neighbors[row], weights[row])
            begin = take_ticket(tickets) * group


@numba.njit
def _hop_as_newcomer(item: Any, draw: Any, contexts: Any, forth: Any, back: Any) -> Any:
    """The item after one hop in the graph with one item more, the last row, in these contexts.

    No array is copied: it stands behind the others of each of its contexts. Where those have
    thresholds, its share of them is that of one edge among as many as there are.
    """
    newcomer = len(forth.slots)
    if item == newcomer:
        context = contexts[((draw >> _HALF) * _U64(len(contexts))) >> _HALF]
    else:
        place = _choose(forth.slots[item], draw >> _HALF, forth.thresholds)
        context = np.int32(forth.indices[place])
    slot, half = back.slots[context], draw & _LOW
    at = np.searchsorted(contexts, context)
    if at < len(contexts) and contexts[at] == context:
        size = slot >> START_BITS
        scaled = half * (size + _ONE)
        if scaled >> _HALF == size:
            return newcomer
        if back.thresholds is None:
            return np.int64(back.indices[(slot & LAST_START) + (scaled >> _HALF)])
        half = scaled & _LOW  # what the choice between it and the others has left
    return np.int64(back.indices[_choose(slot, half, back.thresholds)])


@numba.njit
def _walk_as_newcomer(
    contexts: Any, first: Any, last: Any, walks: Any, forth: Any, back: Any, s: Any
) -> None:
    """`_walk` from an item that the graph has not."""
    newcomer = len(forth.slots)
    for walk in range(first, last if len(contexts) else first):
        key = walk_key(walks.seed, newcomer, walk)
        item = newcomer
        for hop in range(walks.length):
            item = _hop_as_newcomer(item, hop_draw(key, hop), contexts, forth, back)
            s.met[hop, 0, s.num_met[hop, 0]] = item
            s.num_met[hop, 0] += 1
            if not goes_on(key, hop, walks.threshold):
                break


@numba.njit(parallel=True, cache=True)
def fill_newcomers(
    own_indptr: Any, own_indices: Any, walks: Any, forth: Any, back: Any,
    neighbors: Any, weights: Any,
) -> None:  # fmt: skip
    """`fill_table` for items that the graph has not, each as if it alone were added to it.

    The contexts of newcomer m are `own_indices[own_indptr[m]:own_indptr[m + 1]]`, ascending.
    """
    start = np.full(1, len(forth.slots), dtype=np.int32)
    for row in numba.prange(len(own_indptr) - 1):
        contexts = own_indices[own_indptr[row] : own_indptr[row + 1]]
        s = _scratch(1, walks)
        if walks.stable > 0:
            _walk_until_stable(start, walks, forth, back, contexts, s)
        else:
            _walk_as_newcomer(contexts, 0, walks.number, walks, forth, back, s)
        _rank(start[0], 0, True, s, neighbors[row], weights[row])
