"""Edges as they lie in a Parquet file, read in stretches of rows, checked and weighed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import GraphConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import check_range

_BATCH = 1 << 18  # rows read at a time
_DAY = 86_400_000_000  # µs
_LEAST = np.finfo(np.float64).tiny
_BOUNDED = {"item_row": "item", "user_row": "context"}


@dataclass(frozen=True)
class Stretch:
    """Edges of consecutive rows; `stop` is the first row behind them.

    Attributes:
        items, contexts: int32 [R]
        weights: float64 [R], empty where an interaction weighs 1
    """

    stop: int
    items: npt.NDArray[np.int32]
    contexts: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]


class EdgeFile:
    """Interactions in a Parquet file with `item_row` and `user_row`; a user is a context.

    `timestamp` (µs) and `weight` are read where the settings ask for them. Raises GraphError where
    a column has a missing value, a row lies outside its range, or a weight is none.
    """

    def __init__(self, path: Path, num_items: int, settings: GraphConfig) -> None:
        self.path = path
        self._settings = settings
        self.num_rows: int = pq.read_metadata(path).num_rows
        # Contexts are numbered by first appearance in time, so a period's are the first ones.
        self.num_contexts = _largest(path, "user_row", -1) + 1
        self._newest = _largest(path, "timestamp", 0) if self._is_timed else 0
        if self.num_rows and self.num_contexts <= 0:
            check_range("context", np.array([self.num_contexts - 1]), 0)
        self._bounds = {"item_row": num_items, "user_row": self.num_contexts}

    @property
    def has_weights(self) -> bool:
        """Whether interactions weigh differently: counts without decay need no weight a row."""
        return self._settings.weights == "sum" or self._settings.half_life_days > 0

    @property
    def _is_timed(self) -> bool:
        return self._settings.window_days > 0 or self._settings.half_life_days > 0

    def stretches(self, start: int, size: int) -> Iterator[Stretch]:
        """The edges from row `start` on, of at most `size` rows at a time."""
        columns = ["item_row", "user_row"]
        columns += ["timestamp"] * self._is_timed + ["weight"] * (self._settings.weights == "sum")
        parts, filled = [], 0
        for row, batch in _batches(self.path, start, min(size, _BATCH), columns):
            taken = 0
            while taken < len(batch):
                part = batch.slice(taken, size - filled)
                parts.append(self._read(part, row + taken))
                taken += len(part)
                filled += len(part)
                if filled == size:
                    yield _joined(parts)
                    parts, filled = [], 0
        if parts:
            yield _joined(parts)

    def _read(self, batch: pa.RecordBatch, first: int) -> Stretch:
        columns = {name: self._column(batch, name) for name in batch.schema.names}
        for name, kind in _BOUNDED.items():
            check_range(kind, columns[name], self._bounds[name])
        weights = np.empty(0)
        if self.has_weights:
            weights = np.ones(len(batch))
        if "weight" in columns:
            weights = columns["weight"].astype(np.float64)
            self._check_weights(weights, first)
        items, contexts = (columns[name].astype(np.int32, copy=False) for name in _BOUNDED)
        if self._is_timed:
            days = (self._newest - columns["timestamp"]) / _DAY
            if self._settings.half_life_days > 0:
                decayed = weights * np.exp2(-days / self._settings.half_life_days)
                # However old, an interaction stays one: a product of 0 would be no edge.
                weights = np.where(weights > 0, np.maximum(decayed, _LEAST), 0.0)
            if self._settings.window_days > 0:
                kept = days <= self._settings.window_days
                items, contexts = items[kept], contexts[kept]
                weights = weights[kept] if self.has_weights else weights
        return Stretch(first + len(batch), items, contexts, weights)

    def _column(self, batch: pa.RecordBatch, name: str) -> npt.NDArray[Any]:
        column = batch.column(name)
        if column.null_count:
            raise GraphError(
                f"{self.path}: {column.null_count:,} missing values in column {name}, expected "
                f"none; build the data it comes from again"
            )
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _check_weights(self, weights: npt.NDArray[np.float64], first: int) -> None:
        bad = np.flatnonzero(~((weights >= 0) & np.isfinite(weights)))
        if len(bad):
            raise GraphError(
                f"{self.path}: weight {weights[bad[0]]} in row {first + int(bad[0]):,}, expected a "
                f"finite number of at least 0; leave such interactions out with "
                f"data.interactions.min_weight, or set graph.weights to 'count' or 'none'"
            )


def _batches(
    path: Path, start: int, size: int, columns: list[str]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of at most `size` rows from row `start` on, each with the number of its first row.

    Row groups are read one by one: a reader of several keeps all it has decoded until its end.
    """
    first = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            row, first = first, first + file.metadata.row_group(group).num_rows
            if first <= start:
                continue  # an earlier process had it
            for batch in file.iter_batches(size, row_groups=[group], columns=columns):
                if start < row + len(batch):
                    done = max(0, start - row)
                    yield row + done, batch.slice(done)
                row += len(batch)


def _joined(parts: list[Stretch]) -> Stretch:
    columns = ("items", "contexts", "weights")
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in columns)
    return Stretch(parts[-1].stop, *joined)


def _largest(path: Path, name: str, least: int) -> int:
    """The largest value of a column: by the statistics of the file, else by reading it."""
    with pq.ParquetFile(path) as file:
        place = file.schema_arrow.names.index(name)
        groups = [file.metadata.row_group(g) for g in range(file.num_row_groups)]
        known: list[Any] = [group.column(place).statistics for group in groups]
    if all(statistics and statistics.has_min_max for statistics in known):
        return max((int(statistics.max) for statistics in known), default=least)
    batches = (batch.column(0).drop_null() for _, batch in _batches(path, 0, _BATCH, [name]))
    return max((int(b.to_numpy().max()) for b in batches if len(b)), default=least)
