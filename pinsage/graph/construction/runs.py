"""Runs: the keys of a stretch of rows in one file, grouped by ranges of contexts.

    checksum, offsets int64 [buckets + 1], keys int64 [R] = context << 32 | item, weights float64
    [R] or none

A bucket is a range of 2**shift contexts. A run is complete or not there, and says in its name
which rows of the source it holds, so that a kill costs the one that was being written. Runs live
for seconds and are not flushed to the disk, which is most of what writing them would cost: after
a power loss the checksum, which makes all words add up to a constant, tells those that are whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pinsage.graph.construction.edges import EdgeFile, Stretch
from pinsage.graph.construction.kernels import count_keys, group_by_bucket
from pinsage.progress import Listener, Pace

_BUCKETS = 1024
_WORD = 8  # bytes of each number in a run
_TOTAL = np.int64(0x52554E)  # not 0, which a file of zeros adds up to
_PIECE = 1 << 19  # keys read at a time: stays in the cache from reading to placing
_STRETCH = 1 << 22  # rows of a run at most: longer ones gain nothing

Keys: TypeAlias = npt.NDArray[np.int64]
Weights: TypeAlias = npt.NDArray[np.float64]
Piece: TypeAlias = tuple[Keys, Weights]


@dataclass(frozen=True)
class Run:
    """One run on disk; `rows` are the first row of the source in it and the first behind it."""

    path: Path
    rows: tuple[int, int]
    has_weights: bool
    offsets: npt.NDArray[np.int64] = field(repr=False)

    def pieces(self, first: int, last: int) -> Iterator[Piece]:
        """Keys and weights of the buckets `first` to `last - 1`, a piece at a time."""
        head, total = _WORD + self.offsets.nbytes, int(self.offsets[-1])
        for start in range(int(self.offsets[first]), int(self.offsets[last]), _PIECE):
            count = min(_PIECE, int(self.offsets[last]) - start)
            keys = np.fromfile(self.path, np.int64, count, offset=head + _WORD * start)
            weights = np.empty(0)
            if self.has_weights:
                weights = np.fromfile(self.path, count=count, offset=head + _WORD * (total + start))
            yield keys, weights


@dataclass(frozen=True)
class Runs:
    """All runs of a source; `shift` is the binary logarithm of the contexts a bucket has."""

    runs: Sequence[Run]
    shift: int
    num_contexts: int

    def pieces(self, first: int, last: int) -> Iterator[Piece]:
        """Keys and weights of contexts `first` to `last - 1`, in the order of the source.

        Neighbouring contexts come with them, as a bucket is read whole.
        """
        for run in self.runs:
            yield from run.pieces(first >> self.shift, ((last - 1) >> self.shift) + 1)

    @property
    def num_edges(self) -> int:
        """Number of edges, repeats included."""
        return sum(int(run.offsets[-1]) for run in self.runs)

    def blocks(self, start: int, capacity: int) -> list[tuple[int, int, int]]:
        """Cut the contexts from `start` on into ranges of at most `capacity` edges.

        A range is its first context, the one behind its last, and a bound of its edges, repeats
        included. It has one context at least, so that a larger one is a block of its own.
        """
        ends, sums = [start], [0]
        totals = np.sum([np.diff(run.offsets) for run in self.runs], axis=0)
        for bucket in range(start >> self.shift, len(totals)):
            end = min((bucket + 1) << self.shift, self.num_contexts)
            if totals[bucket] <= capacity:
                ends.append(end)
                sums.append(sums[-1] + int(totals[bucket]))
            else:
                counts = self.count(ends[-1], end)
                sums.extend((sums[-1] + np.cumsum(counts)).tolist())
                ends.extend(range(ends[-1] + 1, end + 1))
        cuts = cut_rows(np.array(sums), 0, capacity)
        return [(ends[first], ends[last], sums[last] - sums[first]) for first, last in cuts]

    def count(self, first: int, last: int) -> npt.NDArray[np.int64]:
        """Edges of each of the contexts `first` to `last - 1`, repeats included."""
        counts = np.zeros(last - first, dtype=np.int64)
        for keys, _ in self.pieces(first, last):
            count_keys(keys, first, counts)
        return counts

    def remove(self) -> None:
        """Delete the files."""
        for run in self.runs:
            run.path.unlink(missing_ok=True)


def cut_rows(indptr: npt.NDArray[np.int64], start: int, capacity: int) -> Iterator[tuple[int, int]]:
    """Cut rows from `start` on into ranges of at most `capacity` edges, or of one row."""
    while start < len(indptr) - 1:
        end = int(np.searchsorted(indptr, indptr[start] + capacity, side="right")) - 1
        stop = max(start + 1, end)
        yield start, stop
        start = stop


def write_runs(source: EdgeFile, folder: Path, memory: int, listener: Listener | None) -> Runs:
    """Read the source once, from where an earlier process was, and write runs to `folder`.

    `memory` bounds the bytes of a stretch in memory.
    """
    shift = max(0, (max(1, source.num_contexts) - 1).bit_length() - _BUCKETS.bit_length() + 1)
    num_buckets = (max(1, source.num_contexts) - 1 >> shift) + 1
    runs = find_runs(folder, num_buckets, source)
    row = runs[-1].rows[1] if runs else 0
    pace = Pace(listener, "reading interactions", "rows", source.num_rows, row)
    size = max(1, min(_STRETCH, memory // (64 if source.has_weights else 32)))
    for stretch in source.stretches(row, size) if row < source.num_rows else ():
        runs.append(_write(folder, stretch, row, shift, num_buckets, source.has_weights))
        pace.add(stretch.stop - row)
        row = stretch.stop
    return Runs(runs, shift, source.num_contexts)


def find_runs(folder: Path, num_buckets: int, source: EdgeFile) -> list[Run]:
    """The whole runs that an earlier process left, from the first row on without a gap."""
    found: list[Run] = []
    for path in sorted(folder.glob("run-*.bin")):
        rows = _rows(path)
        words = np.fromfile(path, np.int64)  # a stretch fits into memory
        if rows[0] != (found[-1].rows[1] if found else 0) or words.sum() != _TOTAL:
            path.unlink()
            continue
        found.append(Run(path, rows, source.has_weights, words[1 : num_buckets + 2].copy()))
    return found


def _rows(path: Path) -> tuple[int, int]:
    first, behind = re.findall(r"\d+", path.name)
    return int(first), int(behind)


def _write(
    folder: Path, stretch: Stretch, row: int, shift: int, num_buckets: int, has_weights: bool
) -> Run:
    offsets = np.zeros(num_buckets + 1, dtype=np.int64)
    keys = np.empty(len(stretch.items), dtype=np.int64)
    weights = np.empty(len(stretch.weights))
    edges = stretch.items, stretch.contexts, stretch.weights
    group_by_bucket(*edges, shift, offsets, keys, weights)
    path = folder / f"run-{row:012d}-{stretch.stop:012d}.bin"
    parts = [offsets, keys, weights.view(np.int64)]
    total = np.sum([part.sum() for part in parts], dtype=np.int64)
    checksum = np.subtract([_TOTAL], [total])  # arrays wrap around, where numbers would warn
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as stream:
        for part in (checksum, *parts):
            part.tofile(stream)
    os.replace(unfinished, path)
    return Run(path, (row, stretch.stop), has_weights, offsets)
