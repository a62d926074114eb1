"""Training and evaluation pairs (q, i): a user's interaction and a later one (paper, section 3.3).

Interactions of one user at one timestamp have no order. Their places in a file would favour some
items: sorted by id, the highest of one moment would always precede the lowest of the next. So
they are ordered by a hash of (user, item, timestamp): the same everywhere, unrelated to ids and
popularity, and drawn anew at each moment, so that an item bought every week is not the basket's
representative every week.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

_COLUMNS = ["user_row", "item_row", "timestamp"]
# Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
_GAMMA, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pairs:
    """Pairs of interactions of one user; arrays of one length.

    Attributes:
        user_row, query_row, positive_row: int32 [P]
        time: int64 [P], µs, of the later interaction
        distance: int32 [P], the positive is the query's distance-th next interaction
    """

    user_row: Int32
    query_row: Int32
    positive_row: Int32
    time: Int64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    distance: Int32 = field(default_factory=lambda: np.empty(0, dtype=np.int32))

    def __len__(self) -> int:
        return len(self.user_row)

    def take(self, rows: npt.NDArray[np.int64]) -> Pairs:
        """The pairs in these places; times and distances that are not known stay so."""
        columns = (getattr(self, f.name) for f in fields(self))
        return Pairs(*(column[rows] if len(column) else column for column in columns))


def consecutive_pairs(
    interactions: pa.Table | Path,
    *,
    equal_times: Literal["drop", "both"],
    max_gap_us: int = 0,
    window: int = 1,
) -> Pairs:
    """A user's interactions with each of the next `window` ones, ordered by user and time.

    `interactions` has user_row, item_row and timestamp (µs), in any order. Pairs of an item with
    itself are left out. Pairs of one timestamp are left out (`drop`) or taken in both directions
    (`both`). `max_gap_us` is the longest time between the two, 0 for any.
    """
    if isinstance(interactions, Path):
        interactions = pq.read_table(interactions, columns=_COLUMNS)
    user, item, time = (interactions[name].to_numpy() for name in _COLUMNS)
    order = np.lexsort((_hash(user, item, time), time, user))
    user, item, time = user[order], item[order], time[order]
    at = [_places(user, item, time, step, equal_times, max_gap_us) for step in range(1, window + 1)]
    query, positive, distance = (np.concatenate(parts) for parts in zip(*at, strict=True))
    # By the earlier interaction, then the distance: a window of 1 gives the order of time.
    by_place = np.lexsort((query > positive, distance, np.minimum(query, positive)))
    query, positive = query[by_place], positive[by_place]
    return Pairs(
        user[query].astype(np.int32),
        item[query].astype(np.int32),
        item[positive].astype(np.int32),
        np.maximum(time[query], time[positive]),
        distance[by_place].astype(np.int32),
    )


def _places(
    user: npt.NDArray[np.integer],
    item: npt.NDArray[np.integer],
    time: npt.NDArray[np.integer],
    step: int,
    equal_times: str,
    max_gap_us: int,
) -> tuple[Int64, Int64, Int64]:
    """Rows of query and positive, `step` rows apart, and that distance."""
    gap = time[step:] - time[:-step]
    pair = (user[step:] == user[:-step]) & (item[step:] != item[:-step])
    if max_gap_us > 0:
        pair &= gap <= max_gap_us
    forward = np.flatnonzero(pair & (gap > 0) if equal_times == "drop" else pair)
    backward = np.flatnonzero(pair & (gap == 0)) if equal_times == "both" else forward[:0]
    query = np.concatenate([forward, backward + step])
    positive = np.concatenate([forward + step, backward])
    return query, positive, np.full(len(query), step)


def _hash(
    user: npt.NDArray[np.integer], item: npt.NDArray[np.integer], time: npt.NDArray[np.integer]
) -> UInt64:
    """SplitMix64 finaliser, chained over the three."""
    state = np.zeros(len(user), dtype=np.uint64)
    for part in (user, item, time):
        state = _mix(state ^ part.astype(np.int64).view(np.uint64))
    return state


def _mix(state: UInt64) -> UInt64:
    state = state + np.uint64(_GAMMA)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX_1)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX_2)
    return state ^ (state >> np.uint64(31))
