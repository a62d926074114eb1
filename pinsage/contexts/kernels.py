"""The loops of pooling, compiled: a weighted mean, the newest rows of each user, Ward's clusters.

Each user is computed by one thread in one order, so that the number of threads changes no bit.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np


def _pool(users: Any, indptr: Any, items: Any, weights: Any, embeddings: Any) -> Any:
    vectors = np.zeros((len(users), embeddings.shape[1]), dtype=np.float32)
    for place in numba.prange(len(users)):
        row = vectors[place]
        total = np.float32(0)
        for edge in range(indptr[users[place]], indptr[users[place] + 1]):
            item = items[edge]
            total += weights[edge]
            for axis in range(len(row)):
                row[axis] += weights[edge] * embeddings[item, axis]
        if total > 0:
            row /= total
    return vectors


pool_parallel = numba.njit(parallel=True, cache=True)(_pool)
# For a thread of a server: numba's own threads may not be entered by several of Python's at once.
pool_serial = numba.njit(nogil=True, cache=True)(_pool)


@numba.njit(cache=True)
def keep_newest(
    first: Any,
    user_row: Any,
    item_row: Any,
    time: Any,
    weight: Any,
    indptr: Any,
    seen: Any,
    items: Any,
    times: Any,
    weights: Any,
) -> None:
    """Put rows, which come in the order of time, into their users' rings; the oldest give way."""
    for row in range(len(user_row)):
        user = user_row[row] - first
        if 0 <= user < len(seen):
            start = indptr[user]
            size = indptr[user + 1] - start
            slot = start + seen[user] % size
            seen[user] += 1
            items[slot], times[slot], weights[slot] = item_row[row], time[row], weight[row]


@numba.njit(parallel=True, cache=True)
def unroll(indptr: Any, seen: Any, items: Any, times: Any, weights: Any) -> None:
    """Turn each ring so that it begins with its oldest row."""
    for user in numba.prange(len(seen)):
        start, stop = indptr[user], indptr[user + 1]
        turn = seen[user] % (stop - start) if stop > start else 0
        if turn:
            items[start:stop] = np.roll(items[start:stop], -turn)
            times[start:stop] = np.roll(times[start:stop], -turn)
            weights[start:stop] = np.roll(weights[start:stop], -turn)


def _medoids(
    indptr: Any, items: Any, weights: Any, embeddings: Any, limit: Any, spread: Any
) -> Any:
    """The medoid of each cluster of each user, and the share of the user's weight it stands for.

    Returns entries of `items`, int64 [B, limit], -1 where there are fewer, and float32 [B, limit].
    """
    users = len(indptr) - 1
    entries = np.full((users, limit), -1, dtype=np.int64)
    shares = np.zeros((users, limit), dtype=np.float32)
    for user in numba.prange(users):
        start, stop = indptr[user], indptr[user + 1]
        if stop > start:
            own = embeddings[items[start:stop]].astype(np.float64)
            _of_one(own, weights[start:stop], start, limit, spread, entries[user], shares[user])
    return entries, shares


@numba.njit(nogil=True, cache=True)
def _of_one(
    own: Any, weights: Any, start: Any, limit: Any, spread: Any, entries: Any, shares: Any
) -> None:
    size = len(own)
    between = np.empty((size, size))
    for one in range(size):
        for other in range(size):
            gap = own[one] - own[other]
            between[one, other] = (gap * gap).sum()
    label = _ward(between.copy(), limit, spread * spread)
    total = weights.sum()
    held = np.zeros(size)
    best = np.full(size, -1)
    least = np.full(size, np.inf)
    for one in range(size):
        cluster = label[one]
        held[cluster] += weights[one]
        summed = 0.0
        for other in range(size):
            if label[other] == cluster:
                summed += between[one, other]
        if summed < least[cluster]:
            best[cluster], least[cluster] = one, summed
    for place in range(limit):
        chosen = -1
        for cluster in range(size):
            if best[cluster] >= 0 and (chosen < 0 or held[cluster] > held[chosen]):
                chosen = cluster
        if chosen < 0:
            return
        entries[place] = start + best[chosen]
        shares[place] = held[chosen] / total
        best[chosen] = -1


@numba.njit(nogil=True, cache=True)
def _ward(squared: Any, limit: Any, bound: Any) -> Any:
    """The cluster of each point, named by its first one. `squared` [n, n] is used up.

    The pair whose union adds least variance is merged, the first of equals, while there are more
    than `limit` clusters or it is within `bound`. Distances follow Lance and Williams (1967); each
    row keeps its nearest later one, so that a merge costs O(n) on the whole.
    """
    size = len(squared)
    label = np.arange(size)
    count = np.ones(size)
    nearest = np.full(size, -1)
    for row in range(size):
        nearest[row] = _nearest(squared, count, row)
    for left in range(size, 1, -1):
        one = _closest(squared, count, nearest)
        other = nearest[one]
        if left <= limit and squared[one, other] > bound:
            break
        _merge(squared, count, one, other)
        label[label == other] = one
        for row in range(size):
            if row == one or nearest[row] == one or nearest[row] == other:
                nearest[row] = _nearest(squared, count, row)
            elif row < one and count[row] > 0 and squared[row, one] < squared[row, nearest[row]]:
                nearest[row] = one
    return label


@numba.njit(nogil=True, cache=True)
def _merge(squared: Any, count: Any, one: Any, other: Any) -> None:
    apart = squared[one, other]
    for row in range(len(count)):
        if count[row] > 0 and row not in (one, other):
            both = (count[one] + count[row]) * squared[one, row]
            both += (count[other] + count[row]) * squared[other, row] - count[row] * apart
            both /= count[one] + count[other] + count[row]
            squared[one, row] = squared[row, one] = both
    count[one] += count[other]
    count[other] = 0


@numba.njit(nogil=True, cache=True)
def _closest(squared: Any, count: Any, nearest: Any) -> Any:
    """The first row of the pair that is nearest, of equals the first."""
    one = -1
    for row in range(len(count)):
        if (
            count[row] > 0
            and nearest[row] >= 0
            and (one < 0 or squared[row, nearest[row]] < squared[one, nearest[one]])
        ):
            one = row
    return one


@numba.njit(nogil=True, cache=True)
def _nearest(squared: Any, count: Any, row: Any) -> Any:
    nearest = -1
    for later in range(row + 1, len(count)):
        if count[later] > 0 and (nearest < 0 or squared[row, later] < squared[row, nearest]):
            nearest = later
    return nearest


medoids_parallel = numba.njit(parallel=True, cache=True)(_medoids)
medoids_serial = numba.njit(nogil=True, cache=True)(_medoids)
