"""What the stage `neighbourhoods` does: the table block by block, from where a kill left it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import walker
from pinsage.graph.previous import KeptRows, Previous
from pinsage.graph.unfinished import UnfinishedTable
from pinsage.progress import Listener, Pace
from pinsage.store import Facts, Workspace

BLOCK_BYTES = 1 << 26  # of the table: seconds of walking, so that a kill costs no more


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

    Memory: a block's rows and a bool an item, beside the graph.
    """
    table = UnfinishedTable(work.scratch, graph.num_items, settings.size)
    facts: Facts = {"kept_from": ""}
    if not table.is_finished:
        walk = walker(graph, settings, seed)
        kept = KeptRows(previous, graph, settings.length) if previous else None
        facts = kept.facts if kept else facts
        pace = Pace(listener, "walking", "items", graph.num_items, table.finished.rows)
        block = max(1, BLOCK_BYTES // (8 * settings.size))
        while not table.is_finished:
            first = table.finished.rows
            items = np.arange(first, min(first + block, graph.num_items), dtype=np.int32)
            rows, walked = kept.rows(items, walk) if kept else (walk(items), len(items))
            table.append(rows, walked)
            pace.add(len(items))
    walked = table.finished.walked
    return table, {**facts, "num_walked": walked, "num_kept": graph.num_items - walked}
