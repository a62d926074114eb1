"""What users took, out of the ingested interactions, in blocks that fit in memory.

Interactions are sorted by time, so that one pass fills a ring for each user of a block, and what is
left in the rings are the newest. A block is as many users as `memory_mib` holds; each block is one
pass over the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pinsage.config import ContextsConfig
from pinsage.contexts.kernels import keep_newest, unroll
from pinsage.contexts.pooling import Histories, Int64

INTERACTIONS, USERS = "interactions.parquet", "users.parquet"
_READ = ("user_row", "item_row", "timestamp", "weight")
_BATCH = 1 << 17  # rows
_ENTRY = 2 * (4 + 8 + 4)  # bytes: item, time and weight, and what pooling makes of them


def read_histories(
    ingested: Path, settings: ContextsConfig, dimension: int
) -> Iterator[tuple[int, Histories]]:
    """Blocks of users, each with the row of its first; every user is in one, in order.

    A history is the user's `newest` interactions. `dimension` is that of the vectors to be made,
    which need memory too.
    """
    file = ingested / INTERACTIONS
    kept = np.minimum(_counts(file, pq.read_metadata(ingested / USERS).num_rows), settings.newest)
    for first, stop in _blocks(kept, settings, dimension):
        yield first, _read(file, first, kept[first:stop])


def _counts(file: Path, num_users: int) -> Int64:
    counts = np.zeros(num_users, dtype=np.int64)
    for (user,) in _columns(file, "user_row"):
        counts += np.bincount(user, minlength=num_users)
    return counts


def _blocks(kept: Int64, settings: ContextsConfig, dimension: int) -> Iterator[tuple[int, int]]:
    vectors = settings.medoids if settings.pool == "medoids" else 1
    cost = np.cumsum(kept * _ENTRY + 64 + 8 * dimension * vectors)
    budget, first, spent = settings.memory_mib << 20, 0, 0
    while first < len(kept):
        stop = max(first + 1, int(np.searchsorted(cost, spent + budget, side="right")))
        yield first, stop
        first, spent = stop, int(cost[stop - 1])


def _read(file: Path, first: int, kept: Int64) -> Histories:
    indptr = np.concatenate([[0], np.cumsum(kept)])
    items = np.empty(indptr[-1], dtype=np.int32)
    times = np.empty(indptr[-1], dtype=np.int64)
    weights = np.empty(indptr[-1], dtype=np.float32)
    seen = np.zeros(len(kept), dtype=np.int64)
    for user, item, time, weight in _columns(file, *_READ):
        keep_newest(first, user, item, time, weight, indptr, seen, items, times, weights)
    unroll(indptr, seen, items, times, weights)
    return Histories(indptr, items, times, weights)


def _columns(file: Path, *names: str) -> Iterator[list[npt.NDArray[Any]]]:
    with pq.ParquetFile(file, pre_buffer=False) as source:
        for batch in source.iter_batches(batch_size=_BATCH, columns=list(names)):
            yield [batch.column(name).to_numpy() for name in names]
