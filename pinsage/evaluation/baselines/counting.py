"""Baselines that only count: chance, and popularity. They do not look at the query.

They show what a method is worth that knows nothing, and one that knows the crowd alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class RandomScorer:
    """Uniform in [0, 1), a pure function of (seed, query, item): the level of pure chance."""

    num_items: int
    seed: int
    name: str = "random"

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]."""
        scores = np.empty((len(query_rows), self.num_items), dtype=np.float32)
        for row, query in zip(scores, query_rows, strict=True):
            rng = np.random.Generator(np.random.Philox([self.seed, int(query)]))
            rng.random(out=row, dtype=np.float32)
        return scores


@dataclass(frozen=True)
class PopularityScorer:
    """The number of contexts of an item in training, whatever the query."""

    graph: BipartiteGraph
    name: str = "popularity"

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N], all rows the same."""
        degree = self.graph.item_degree.astype(np.float32)
        return np.tile(degree, (len(query_rows), 1))
