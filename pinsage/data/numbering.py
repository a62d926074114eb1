"""One pass over sorted interactions: repeats go, ids get dense rows as they appear."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

_TYPES: dict[str, pa.DataType] = {
    "user_row": pa.int32(),
    "item_row": pa.int32(),
    "timestamp": pa.int64(),
    "weight": pa.float32(),
}
NUMBERED = pa.schema(_TYPES)
Int32 = npt.NDArray[np.int32]


class Rows:
    """Dense rows of ids, which are named by their rank.

    `row_of` [ranks] holds the rows of those known before, −1 for the others, which get the rows
    from `next_row` on in the order in which they are asked for. Memory: 4 bytes an id, and 4 more
    for each new one.
    """

    def __init__(self, row_of: Int32, next_row: int) -> None:
        self._row_of = row_of
        self._next_row = next_row
        self._appeared: list[Int32] = []

    def of(self, ranks: Int32) -> Int32:
        """The rows of a batch of ranks."""
        new = pd.unique(ranks[self._row_of[ranks] < 0])
        if len(new):
            first = self._next_row
            self._next_row = first + len(new)
            self._row_of[new] = np.arange(first, self._next_row, dtype=np.int32)
            self._appeared.append(new)
        return self._row_of[ranks]

    @property
    def appeared(self) -> Int32:
        """Ranks of the ids that got a row, in the order of their rows."""
        return np.concatenate([np.empty(0, np.int32), *self._appeared])


class Pass:
    """Numbers batch after batch of rows sorted by (time, user, item), the largest weight first.

    Of rows with the same time, user and item the first stays, unless repeats are kept.
    """

    def __init__(self, users: Rows, items: Rows, *, keep_repeats: bool) -> None:
        self._users = users
        self._items = items
        self._keep_repeats = keep_repeats
        self._last: tuple[int, int, int] | None = None

    def number(self, batch: pa.RecordBatch) -> pa.Table:
        """The rows of `batch` (time, user, item, weight; ids as ranks) that stay, numbered."""
        time, user, item = (batch.column(place).to_numpy() for place in range(3))
        weight = batch.column(3).to_numpy()
        if len(time) and not self._keep_repeats:
            keep = self._is_new(time, user, item)
            time, user, item, weight = time[keep], user[keep], item[keep], weight[keep]
        columns = (self._users.of(user), self._items.of(item), time, weight)
        return pa.table([pa.array(column) for column in columns], schema=NUMBERED)

    def _is_new(self, *keys: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        new = np.zeros(len(keys[0]), dtype=bool)
        for key in keys:
            new[1:] |= key[1:] != key[:-1]
        new[0] = self._last != tuple(int(key[0]) for key in keys)
        time, user, item = (int(key[-1]) for key in keys)
        self._last = (time, user, item)
        return new
