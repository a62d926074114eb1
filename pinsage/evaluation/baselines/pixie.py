"""Pixie: visits of random walks from the query (Eksombatchai et al., WWW 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.visits import visit_counts


@dataclass(frozen=True)
class PixieScorer:
    """Visits of random walks from the query (Pixie, Eksombatchai et al., WWW 2018).

    Pixie takes square roots to combine several query items; for one query item they change no
    rank, so plain counts serve. `damping` divides them by degree^damping: 0 is Pixie, ½ weighs
    hubs like item-kNN's cosine does.
    """

    graph: BipartiteGraph
    walks: int
    length: int
    restart: float
    damping: float
    seed: int
    name: str = "Pixie"

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs, beside the fixed number of walks."""
        return {"length": self.length, "damping": self.damping, "walks": self.walks}

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]; 0 where no walk came by."""
        counts = visit_counts(
            self.graph,
            query_rows,
            walks=self.walks,
            length=self.length,
            restart=self.restart,
            seed=self.seed,
        )
        degree = np.maximum(self.graph.item_degree, 1).astype(np.float32)
        scores: Scores = np.multiply(counts, degree**-self.damping, dtype=np.float32)
        return scores
