"""Power-law bipartite graphs for the benchmarks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pinsage.graph.bipartite import BipartiteGraph


def power_law_graph(num_items: int, num_contexts: int, num_edges: int, seed: int) -> BipartiteGraph:
    """Edges between items and contexts, both drawn with frequency ∝ 1 / rank^0.7."""
    rng = np.random.Generator(np.random.Philox(seed))
    item_row = _draw(rng, num_items, num_edges)
    context_row = _draw(rng, num_contexts, num_edges)
    return BipartiteGraph.from_edges(
        item_row, context_row, num_items=num_items, num_contexts=num_contexts
    )


def _draw(rng: np.random.Generator, count: int, size: int) -> npt.NDArray[np.int32]:
    # Inverse transform of the continuous law: u^(1 / 0.3) has density ∝ x^-0.7.
    rank = (rng.random(size) ** (1 / 0.3) * count).astype(np.int32)
    return rng.permutation(count).astype(np.int32)[np.minimum(rank, count - 1)]
