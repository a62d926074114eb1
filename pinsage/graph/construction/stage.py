"""The stage `graph`: from interactions to a graph artifact."""

from __future__ import annotations

from pathlib import Path

from pinsage.config import GraphConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.construction.directions import build_contexts, build_items
from pinsage.graph.construction.edges import EdgeFile
from pinsage.graph.construction.growing import GrowingCsr
from pinsage.graph.construction.runs import write_runs
from pinsage.progress import Listener
from pinsage.store import Facts

_MIB = 1 << 20


def write_graph(
    edges: Path,
    num_items: int,
    settings: GraphConfig,
    seed: int,
    *,
    out: Path,
    scratch: Path,
    memory: int | None = None,
    listener: Listener | None = None,
) -> Facts:
    """Build the graph over a Parquet file with `item_row` and `user_row`; a user is a context.

    `scratch` keeps what is finished for the process after a kill. `memory` bounds the blocks in
    bytes, instead of `settings.memory_mib`. Raises GraphError where the file does not fit.
    """
    source = EdgeFile(edges, num_items, settings)
    bound = settings.memory_mib * _MIB if memory is None else memory
    weighted = settings.weights != "none"
    contexts = GrowingCsr(
        scratch, "context", source.num_contexts, weighted=weighted, keeps_weights=weighted
    )
    items = GrowingCsr(scratch, "item", num_items, weighted=weighted)
    if not contexts.is_whole:
        runs = write_runs(source, scratch, bound, listener)
        build_contexts(runs, contexts, bound, seed, settings.max_context_degree, listener)
        runs.remove()
    build_items(contexts, items, bound, listener)
    for csr in (contexts, items):
        csr.publish(out)
    graph = BipartiteGraph.open(out)
    return {
        "num_items": graph.num_items,
        "num_contexts": graph.num_contexts,
        "num_edges": graph.num_edges,
        "num_isolated_items": int((graph.item_degree == 0).sum()),
        "max_item_degree": int(graph.item_degree.max(initial=0)),
    }
