"""Where a cluster cuts the catalog, and which rows parts need of each other (PinSage §3.4).

Items stand in an order, the catalog's or one by locality, and are cut into P blocks of it. A block
is a target, whose neighbours are pooled, and a source, whose rows others need. A target pulls each
distinct row once: its need, sorted, is cut at the bounds of the sources, and its own table points
into it. No engine and no network here: plain functions of arrays.

Shapes: N items, P parts, B items of a part, T neighbours, U distinct rows that a part needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.errors import GraphError

Places = npt.NDArray[np.int32]
Bounds = npt.NDArray[np.int64]

_LEVELS = (8, 64, 512, 4096)  # clusters of at most N / 8 items, within them of N / 64, …
_ROUNDS = 4  # of label propagation; more change next to nothing
_SMALLEST_LIMIT = 8  # items of a cluster that is not worth splitting
NEARLY_ALL = 0.9  # of a source's rows: so many are not worth picking out


@dataclass(frozen=True)
class Order:
    """An order of the items.

    Attributes:
        rows: int32 [N], the catalog row at each place
        places: int32 [N], the place of each catalog row
    """

    rows: Places
    places: Places

    @classmethod
    def of(cls, rows: Places) -> Order:
        """By the row at each place, a permutation."""
        places = np.empty_like(rows)
        places[rows] = np.arange(len(rows), dtype=rows.dtype)
        return cls(rows, places)

    @classmethod
    def catalog(cls, num_items: int) -> Order:
        """As the catalog has them."""
        return cls.of(np.arange(num_items, dtype=np.int32))


@dataclass(frozen=True)
class Need:
    """What a part needs of the others.

    Attributes:
        places: int32 [U], distinct, ascending: its neighbours, and of a source that it needs
            nearly all of, the rest as well
        cuts: int64 [P + 1], where the places of each source begin among them
        local: int32 [B, T], the table with positions in `places`, -1 where there is none
    """

    places: Places
    cuts: Bounds
    local: Places


def block_bounds(num_items: int, parts: int) -> Bounds:
    """Where P blocks of N items begin and end, [P + 1]; their sizes differ by one at most."""
    return np.arange(parts + 1, dtype=np.int64) * num_items // parts


def need_of(neighbors: Places, bounds: Bounds, whole_from: float = NEARLY_ALL) -> Need:
    """The need of a part, given its rows of the table as places, int32 [B, T], -1 for none.

    A source of whose rows a share of `whole_from` or more is needed is needed whole: it can send
    its rows as they lie, and all who need them share one copy.
    """
    places, local = _distinct(np.ascontiguousarray(neighbors), bounds, whole_from)
    return Need(places, np.searchsorted(places, bounds).astype(np.int64), local)


def locality_order(neighbors: Places, weights: npt.NDArray[np.float32]) -> Order:
    """Items in an order that puts neighbours near each other; [N, T] each, as in the table.

    Labels propagate (Raghavan et al. 2007) among clusters of bounded size, from coarse to fine:
    a level splits each cluster of the one before. One thread, a few passes over the table, the
    same order every time. Memory is 12 bytes an item, and 4 more a level. Raises GraphError where a
    neighbour lies beyond the last item.
    """
    num_items = len(neighbors)
    _check(neighbors, num_items)
    labels: list[Places] = [np.zeros(num_items, dtype=np.int32)]
    for divisor in _LEVELS:
        limit = num_items // divisor
        if limit < _SMALLEST_LIMIT:
            break
        labels.append(_propagate(neighbors, weights, labels[-1], limit, _ROUNDS))
    return Order.of(np.lexsort(labels[::-1]).astype(np.int32))


def count_rows(neighbors: Places, order: Order, parts: int) -> tuple[int, int]:
    """Rows that parts need of others in a layer, by counting: (pulled, partial sums pushed).

    Sources that are sent whole (`NEARLY_ALL`) send up to a ninth more than what is needed of them.

    `neighbors` is the table, int32 [N, T]. A part's own rows do not travel.
    """
    bounds = block_bounds(len(neighbors), parts)
    pulled = pushed = 0
    for part in range(parts):
        placed = placed_neighbors(neighbors, order, int(bounds[part]), int(bounds[part + 1]))
        need = need_of(placed, bounds, whole_from=np.inf)
        pulled += len(need.places) - int(need.cuts[part + 1] - need.cuts[part])
        pushed += int(_other_parts(placed, bounds, part))
    return pulled, pushed


def placed_neighbors(neighbors: Places, order: Order, start: int, stop: int) -> Places:
    """The table's rows of the items at places `start` to `stop`, as places, int32 [B, T].

    Raises GraphError where a neighbour lies beyond the last item.
    """
    block = neighbors[order.rows[start:stop]]
    _check(block, len(order.rows))
    return np.where(block >= 0, order.places[block], np.int32(-1))


def _check(neighbors: Places, num_items: int) -> None:
    if neighbors.size and int(neighbors.max()) >= num_items:
        raise GraphError(
            f"neighbours must be rows below {num_items} (got {int(neighbors.max())}); rebuild the "
            f"neighbourhoods of this catalog"
        )


@numba.njit(inline="always")
def _ones(word: Any) -> Any:
    """Bits set in 64: sums of neighbouring fields, doubled in width three times."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    two = np.uint64(0x3333333333333333)
    word = (word & two) + ((word >> np.uint64(2)) & two)
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@numba.njit(cache=True, nogil=True)
def _ranks(words: Any) -> Any:
    """Bits set before each word, and in all."""
    before = np.zeros(len(words) + 1, dtype=np.int32)
    for k in range(len(words)):
        before[k + 1] = before[k] + _ones(words[k])
    return before


@numba.njit(inline="always")
def _rank(words: Any, before: Any, place: Any) -> Any:
    """Bits set before a place."""
    word, bit = place >> 6, place & 63
    if not bit:  # the end of all is in no word
        return before[word]
    below = (np.uint64(1) << np.uint64(bit)) - np.uint64(1)
    return before[word] + _ones(words[word] & below)


@numba.njit(cache=True, nogil=True)
def _complete(words: Any, bounds: Any, whole_from: Any) -> Any:
    """Set all bits between two bounds where so large a share of them is set."""
    before = _ranks(words)
    ranks = np.array([_rank(words, before, bound) for bound in bounds])
    for part in range(len(bounds) - 1):
        start, stop = bounds[part], bounds[part + 1]
        if ranks[part + 1] - ranks[part] >= whole_from * (stop - start):
            for place in range(start, stop):
                words[place >> 6] |= np.uint64(1) << np.uint64(place & 63)


@numba.njit(cache=True, nogil=True)
def _distinct(neighbors: Any, bounds: Any, whole_from: Any) -> Any:
    """Distinct values, and each value's rank: a bit an item, no sort of B · T values."""
    words = np.zeros((bounds[-1] + 63) // 64, dtype=np.uint64)
    for row in neighbors:
        for place in row:
            if place >= 0:
                words[place >> 6] |= np.uint64(1) << np.uint64(place & 63)
    _complete(words, bounds, whole_from)
    before = _ranks(words)
    places = np.empty(before[-1], dtype=np.int32)
    for word in range(len(words)):
        rank = before[word]
        for bit in range(64):
            if words[word] & (np.uint64(1) << np.uint64(bit)):
                places[rank] = 64 * word + bit
                rank += 1
    local = np.full(neighbors.shape, -1, dtype=np.int32)
    for row in range(neighbors.shape[0]):
        for slot in range(neighbors.shape[1]):
            if neighbors[row, slot] >= 0:
                local[row, slot] = _rank(words, before, neighbors[row, slot])
    return places, local


@numba.njit(cache=True, nogil=True)
def _other_parts(placed: Any, bounds: Any, own: Any) -> Any:
    """Over all targets, the parts other than their own that a neighbour of theirs lies in."""
    seen = np.full(len(bounds) - 1, -1, dtype=np.int64)
    count = 0
    for row in range(len(placed)):
        for place in placed[row]:
            if place >= 0:
                part = np.searchsorted(bounds, place, side="right") - 1
                if part != own and seen[part] != row:
                    seen[part] = row
                    count += 1
    return count


@numba.njit(cache=True, nogil=True)
def _propagate(neighbors: Any, weights: Any, above: Any, limit: Any, rounds: Any) -> Any:
    """Each item takes the label that weighs most among its neighbours of the same `above`.

    A label holds `limit` items at most, and an item without such a neighbour keeps its own.
    """
    num_items = len(neighbors)
    label = np.arange(num_items).astype(np.int32)
    size = np.ones(num_items, dtype=np.int32)
    weight_of = np.zeros(num_items, dtype=np.float32)
    for _ in range(rounds):
        for item in range(num_items):
            own = label[item]
            for slot in range(neighbors.shape[1]):
                other = neighbors[item, slot]
                if other >= 0 and above[other] == above[item]:
                    weight_of[label[other]] += weights[item, slot]
            best, most = own, weight_of[own]
            for slot in range(neighbors.shape[1]):
                other = neighbors[item, slot]
                if other >= 0:
                    found = label[other]
                    # A smaller label wins a tie, so that the order of slots decides nothing.
                    wins = weight_of[found] > most or (weight_of[found] == most and found < best)
                    if wins and weight_of[found] > 0 and (found == own or size[found] < limit):
                        best, most = found, weight_of[found]
            for slot in range(neighbors.shape[1]):
                other = neighbors[item, slot]
                if other >= 0:
                    weight_of[label[other]] = 0
            size[own] -= 1
            size[best] += 1
            label[item] = best
    return label
