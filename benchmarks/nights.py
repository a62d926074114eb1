"""How much of the table has a night to walk again? By what graphs can tell, and by what walks read.

    python benchmarks/nights.py ROOT…      roots that a run has left, with stages/ingest below

The last day and the last week of a data set are taken as the night. `reach` is what the stage does:
breadth-first search from changed rows. The others would need a record of each item's reads beside
the table: `exact` all rows that its W walks read (`rows` of them), `N bits` their hashes modulo N.
Shares are of the items that have edges on either side of the night; `walks` is the share of walks
that read a changed row.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from _timing import print_table

from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.reach import Reach, changed_rows
from pinsage.graph.walks import end_threshold, goes_on, hop_draw, walk_key

_DAY = 86_400 * 1_000_000  # microseconds
_LENGTH, _RESTART = 3, 0.5
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_BITS = (64, 256, 2048)


def main(roots: list[str]) -> None:
    """A table of shares, a row for each data set, night and number of walks."""
    if not roots:
        print("nights.py: name the roots of runs (configuration `root`); nothing measured")
        return
    rows = []
    for root in map(Path, roots):
        for night, old, new in _nights(root):
            rows += [(root.name, night, *row) for row in _shares(old, new)]
    print_table(
        "Share of items to walk again",
        ("data", "night", "edges", "W", "rows", "walks", "reach", "exact",
         *(f"{bits} bits" for bits in _BITS)),
        rows,
    )  # fmt: skip


def _nights(root: Path) -> Iterator[tuple[str, BipartiteGraph, BipartiteGraph]]:
    folder = next((root / "stages" / "ingest").glob("[!.]*"))
    num_items = pq.read_metadata(folder / "items.parquet").num_rows
    table = pq.read_table(folder / "interactions.parquet")
    item, user, time = (table.column(name).to_numpy() for name in ("item_row", "user_row",
                                                                   "timestamp"))  # fmt: skip

    def graph(known: npt.NDArray[np.bool_]) -> BipartiteGraph:
        return BipartiteGraph.from_edges(
            item[known], user[known], num_items=num_items, num_contexts=int(user[known].max()) + 1
        )

    for night, days in (("day", 1), ("week", 7)):
        yield night, graph(time <= time.max() - days * _DAY), graph(time >= 0)


def _shares(old: BipartiteGraph, new: BipartiteGraph) -> Iterator[tuple[Any, ...]]:
    items, contexts = changed_rows(old, new)
    known = (old.item_degree > 0) | items
    reach = Reach.between(old, new, _LENGTH).items
    changed = np.concatenate([items, contexts])  # contexts are numbered after the items
    hits = np.stack([changed, *(_hits(changed, bits) for bits in _BITS)])
    for walks in (10, 200):
        again = np.tile(items, (len(hits), 1))
        read = np.zeros(len(items), dtype=np.int64)
        met = _read(
            walks, _LENGTH, end_threshold(_RESTART), 0, old.item_indptr, old.item_indices,
            old.context_indptr, old.context_indices, hits, again, read,
        )  # fmt: skip
        shares = (float(share[known].mean()) for share in (reach, *again))
        yield (
            new.num_edges - old.num_edges, walks, float(read[known].mean()),
            float(met / (walks * known.sum())), *shares,
        )  # fmt: skip


def _hits(changed: npt.NDArray[np.bool_], bits: int) -> npt.NDArray[np.bool_]:
    """Rows whose hash is that of a changed row."""
    hashes = np.random.Generator(np.random.Philox(bits)).integers(0, bits, len(changed))
    return np.isin(hashes, hashes[changed])


@numba.njit
def _read(
    walks: Any,
    length: Any,
    threshold: Any,
    seed: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
    hits: Any,
    again: Any,
    read: Any,
) -> Any:
    """Mark items whose reads meet a hit; how many walks meet a changed row, of all."""
    num_items, met = len(item_indptr) - 1, 0
    seen = np.full(hits.shape[1], -1, dtype=np.int64)
    for start in range(num_items):
        for walk in range(walks if item_indptr[start + 1] > item_indptr[start] else 0):
            key, item, meets = walk_key(seed, start, walk), np.int64(start), False
            for hop in range(length):
                draw = hop_draw(key, hop)
                context = _choose(item_indptr, item_indices, item, draw >> _HALF)
                for row in (item, num_items + context):
                    meets = meets or hits[0, row]
                    if seen[row] != start:
                        seen[row] = start
                        read[start] += 1
                        again[:, start] |= hits[:, row]
                item = _choose(context_indptr, context_indices, context, draw & _LOW)
                if not goes_on(key, hop, threshold):
                    break
            met += meets
    return met


@numba.njit
def _choose(indptr: Any, indices: Any, row: Any, half: Any) -> Any:
    degree = np.uint64(indptr[row + 1] - indptr[row])
    return np.int64(indices[indptr[row] + np.int64((half * degree) >> _HALF)])


if __name__ == "__main__":
    main(sys.argv[1:])
