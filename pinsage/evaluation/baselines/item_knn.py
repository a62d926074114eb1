"""Item-kNN: cosine of co-occurrence, counted afresh for each query (Sarwar et al., WWW 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from pinsage.errors import ConfigError
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class ItemKNNScorer:
    """Shrunk cosine of co-occurrence: c_qj / (d_q^(1 − b) d_j^b + shrink).

    c_qj is the number of contexts that q and j share, d a number of contexts. The shrinkage takes
    weight from items with few contexts, whose cosines are chance; at 0, with `damping` b = ½, it is
    the plain cosine. A smaller b lets popular items through (the asymmetric cosine of Aiolli,
    RecSys 2013). A context of s items counts s^−`context_damping` instead of 1: sharing a long
    list says less than sharing a short one (inverse user frequency, Breese et al., UAI 1998).
    """

    graph: BipartiteGraph
    shrink: float
    damping: float = 0.5
    context_damping: float = 0.0
    name: str = "item-kNN"

    def __post_init__(self) -> None:
        if not self.shrink >= 0:
            raise ConfigError(f"shrink: expected 0 or more contexts (got {self.shrink})")
        for field in ("damping", "context_damping"):
            if not 0 <= getattr(self, field) <= 1:
                raise ConfigError(
                    f"{field}: expected an exponent from 0 to 1 (got {getattr(self, field)})"
                )

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs."""
        return {
            "shrink": self.shrink,
            "damping": self.damping,
            "context_damping": self.context_damping,
        }

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N], in [0, 1]; 0 where no context is shared."""
        graph = self.graph
        degree = graph.item_degree.astype(np.float64)
        sizes = np.maximum(np.diff(graph.context_indptr), 1).astype(np.float64)
        scores: Scores = _shrunk_cosine(
            query_rows,
            (degree ** (1 - self.damping)).astype(np.float32),
            (degree**self.damping).astype(np.float32),
            np.float32(self.shrink),
            (sizes**-self.context_damping).astype(np.float32),
            graph.item_indptr, graph.item_indices, graph.context_indptr, graph.context_indices,
        )  # fmt: skip
        return scores


@numba.njit(parallel=True, cache=True)
def _shrunk_cosine(
    query_rows: Any,
    query_norm: Any,
    item_norm: Any,
    shrink: Any,
    worth: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
) -> Any:
    scores = np.zeros((len(query_rows), len(item_norm)), dtype=np.float32)
    for position in numba.prange(len(query_rows)):
        query = query_rows[position]
        row = scores[position]
        for edge in range(item_indptr[query], item_indptr[query + 1]):
            context = item_indices[edge]
            for other in range(context_indptr[context], context_indptr[context + 1]):
                row[context_indices[other]] += worth[context]
        for item in range(len(row)):
            if row[item] > 0:
                row[item] /= query_norm[query] * item_norm[item] + shrink
    return scores
