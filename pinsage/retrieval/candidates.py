"""Who may be among the k best of each query, tile by tile: what `exact` compiles.

A query holds candidates in ascending order of their rows, each with a score that is off by at most
the query's error. `floor` is what a new one must reach: below it, k others are surely better.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_CHUNK = 64  # scores compared without a branch


@numba.njit(nogil=True, cache=True)
def take(
    tile: Any,
    ids: Any,
    vectors: Any,
    queries: Any,
    errors: Any,
    k: Any,
    held: Any,
    rows: Any,
    counts: Any,
    floors: Any,
) -> None:
    """Hold what of a tile float32 [Q, B] may be among the best; its columns are the rows `ids`."""
    size = held.shape[1]
    for query in range(len(tile)):
        floor, count = floors[query], counts[query]
        for start in range(0, tile.shape[1], _CHUNK):
            stop = min(start + _CHUNK, tile.shape[1])
            reach = 0
            for place in range(start, stop):
                reach += not tile[query, place] < floor  # so that a NaN, of ∞ − ∞, reaches it
            if reach == 0:
                continue
            for place in range(start, stop):
                if tile[query, place] < floor:
                    continue
                if count == size:
                    count, floor = _sort_out(
                        vectors, queries[query], errors[query], k, held[query], rows[query], count
                    )
                    if tile[query, place] < floor:
                        continue
                held[query, count] = tile[query, place]
                rows[query, count] = ids[place]
                count += 1
        floors[query], counts[query] = floor, count


@numba.njit(nogil=True, cache=True)
def finish(
    vectors: Any,
    queries: Any,
    errors: Any,
    k: Any,
    held: Any,
    rows: Any,
    counts: Any,
    best: Any,
    best_rows: Any,
) -> None:
    """The k best of those held, into float32 and int64 [Q, k]; among equals the smaller row."""
    for query in range(len(queries)):
        count = counts[query]
        if np.isfinite(errors[query]):
            count, _ = _drop(errors[query], k, held[query], rows[query], count)
        _score(vectors, queries[query], held[query], rows[query], count)
        order = np.argsort(-held[query, :count], kind="mergesort")[:k]
        for place in range(len(order)):
            best[query, place] = held[query, order[place]]
            best_rows[query, place] = rows[query, order[place]]


@numba.njit(nogil=True, cache=True)
def to_bfloat16(values: Any, out: Any) -> None:
    """The nearest bfloat16 of each value of a float32 matrix, ties to even, as their bits."""
    for row in range(len(values)):
        bits = values[row].view(np.uint32)
        for place in range(len(bits)):
            rounded = bits[place] + np.uint32(0x7FFF) + ((bits[place] >> np.uint32(16)) & 1)
            out[row, place] = np.int16(np.uint16(rounded >> np.uint32(16)))


@numba.njit(nogil=True, cache=True)
def _sort_out(
    vectors: Any, query: Any, error: Any, k: Any, held: Any, rows: Any, count: Any
) -> Any:
    """Make room: drop who is surely not among the best, or score all exactly and keep k."""
    floor = np.float32(-np.inf)
    if np.isfinite(error):
        count, floor = _drop(error, k, held, rows, count)
        if 4 * (count - k) < 3 * (len(held) - k):
            return count, floor
    # Very many are within the error of the k-th, as copies of it are.
    _score(vectors, query, held, rows, count)
    kept = np.sort(np.argsort(-held[:count], kind="mergesort")[:k])
    for place in range(len(kept)):
        held[place] = held[kept[place]]
        rows[place] = rows[kept[place]]
    if np.isfinite(error):
        floor = _below(held[:k].min() - 2 * error)
    return len(kept), floor


@numba.njit(nogil=True, cache=True)
def _drop(error: Any, k: Any, held: Any, rows: Any, count: Any) -> Any:
    if count <= k:
        return count, np.float32(-np.inf)
    floor = _below(np.partition(held[:count], count - k)[count - k] - 2 * error)
    kept = 0
    for place in range(count):
        if held[place] >= floor:
            held[kept] = held[place]
            rows[kept] = rows[place]
            kept += 1
    return kept, floor


@numba.njit(nogil=True, cache=True)
def _score(vectors: Any, query: Any, held: Any, rows: Any, count: Any) -> None:
    for place in range(count):
        vector = vectors[rows[place]]
        total = 0.0
        for at in range(len(query)):
            total += np.float64(vector[at]) * np.float64(query[at])
        held[place] = total


@numba.njit(nogil=True, cache=True)
def _below(value: Any) -> Any:
    return np.nextafter(np.float32(value), np.float32(-np.inf))
