"""What the stage `neighbourhoods` does: the table block by block, from where a kill left it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph, Indices
from pinsage.graph.engines import walking
from pinsage.graph.previous import KeptRows, Previous
from pinsage.graph.unfinished import UnfinishedTable
from pinsage.progress import Listener, Pace
from pinsage.store import Facts, Workspace

BLOCK_BYTES = 1 << 26  # of the table: seconds of walking, so that a kill costs no more
_TASK_BYTES = 1 << 24  # on a cluster: small enough to share out evenly, long enough to be worth it


def write_neighbourhoods(
    graph: Path,
    settings: NeighbourhoodConfig,
    seed: int,
    work: Workspace,
    previous: Previous | None = None,
    listener: Listener | None = None,
) -> Facts:
    """Build the table over a graph artifact and save it as two `.npy` files.

    Rows of `previous`, a table made with the same settings and seed, are kept where they are what
    walking would give; the facts say how many (`num_kept`) and what had changed. `listener` hears
    how far it is.
    """
    table, facts = walked_table(
        BipartiteGraph.open(graph), settings, seed, work, previous, listener
    )
    table.hand_over(work.path)
    return {**table.open().facts(), **facts}


def walked_table(
    graph: BipartiteGraph,
    settings: NeighbourhoodConfig,
    seed: int,
    work: Workspace,
    previous: Previous | None,
    listener: Listener | None = None,
) -> tuple[UnfinishedTable, Facts]:
    """The finished table in the workspace's scratch folder, and how it came about.

    Memory: a block's rows and a bool an item, beside the graph; of a cluster, as many blocks as
    it walks at once.
    """
    table = UnfinishedTable(work.scratch, graph.num_items, settings.size)
    facts: Facts = {"kept_from": ""}
    if not table.is_finished:
        kept = KeptRows(previous, graph, settings.length) if previous else None
        facts = kept.facts if kept else facts
        pace = Pace(listener, "walking", "items", graph.num_items, table.finished.rows)
        size = _TASK_BYTES if settings.engine == "ray" else BLOCK_BYTES
        blocks = list(_blocks(table.finished.rows, graph.num_items, size // (8 * settings.size)))
        asked = (kept.to_walk(items) if kept else items for items in map(_items, blocks))
        with walking(graph, settings, seed, asked) as found:
            for block, rows in zip(blocks, found, strict=True):
                whole = kept.rows(_items(block), rows) if kept else rows
                table.append(whole, len(rows[0]))
                pace.add(len(block))
    walked = table.finished.walked
    return table, {**facts, "num_walked": walked, "num_kept": graph.num_items - walked}


def _blocks(first: int, num_items: int, size: int) -> Iterator[range]:
    size = max(1, size)
    return (range(at, min(at + size, num_items)) for at in range(first, num_items, size))


def _items(block: range) -> Indices:
    return np.arange(block.start, block.stop, dtype=np.int32)
