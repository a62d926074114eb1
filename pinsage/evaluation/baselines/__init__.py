"""What PinSage has to beat: scorers that need no training beyond counting (PinSage §4.1, Pixie).

Each sees the training graph only. Items a baseline knows nothing about score 0, and stand tied in
the middle of one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.errors import ConfigError
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.walks import visit_counts


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


@dataclass(frozen=True)
class ItemKNNScorer:
    """Cosine of co-occurrence, shrunk: c_qj / (√(d_q d_j) + shrink) (Sarwar et al., WWW 2001).

    c_qj is the number of contexts that q and j share, d a number of contexts. The shrinkage takes
    weight from items with few contexts, whose cosines are chance; at 0 it is the plain cosine.
    """

    graph: BipartiteGraph
    shrink: float
    name: str = "item-kNN"

    def __post_init__(self) -> None:
        if not self.shrink >= 0:
            raise ConfigError(f"shrink: expected 0 or more contexts (got {self.shrink})")

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs."""
        return {"shrink": self.shrink}

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N], in [0, 1]; 0 where no context is shared."""
        graph = self.graph
        root = np.sqrt(graph.item_degree.astype(np.float32))
        scores: Scores = _shrunk_cosine(
            query_rows, root, np.float32(self.shrink), graph.item_indptr, graph.item_indices,
            graph.context_indptr, graph.context_indices,
        )  # fmt: skip
        return scores


@dataclass(frozen=True)
class TransitionScorer:
    """How often training went from the query straight to the item: a first-order Markov chain.

    Steps from the item to the query count `1 / 2`. Ties, above all the items with no step at all,
    are broken by item-kNN (Rendle et al., WWW 2010, factorise the same counts to fill the gaps).

    Attributes:
        indptr, indices, counts: CSR of the discounted counts, int64 [N + 1], int32 [S], float32 [S]
        fallback: breaks ties
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    counts: npt.NDArray[np.float32]
    fallback: ItemKNNScorer
    name: str = "transitions"

    @classmethod
    def of(cls, query_row: Rows, positive_row: Rows, fallback: ItemKNNScorer) -> TransitionScorer:
        """Count the pairs of the training period, int32 [P] each, in both directions."""
        size = fallback.graph.num_items
        forward = query_row.astype(np.int64) * size + positive_row
        backward = positive_row.astype(np.int64) * size + query_row
        keys, step = np.unique(np.concatenate([forward, backward]), return_inverse=True)
        worth = np.repeat([1.0, 0.5], [len(forward), len(backward)])
        rows, items = np.divmod(keys, size)
        return cls(
            indptr=np.searchsorted(rows, np.arange(size + 1)).astype(np.int64),
            indices=items.astype(np.int32),
            counts=np.bincount(step, weights=worth, minlength=len(keys)).astype(np.float32),
            fallback=fallback,
        )

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]: multiples of 1/2, and below that the cosines of item-kNN."""
        scores = self.fallback.score(query_rows)
        scores *= np.float32(0.49)  # a cosine of 1 must stay under the smallest step, 1/2
        _add_rows(query_rows, self.indptr, self.indices, self.counts, scores)
        return scores


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


@numba.njit(parallel=True, cache=True)
def _shrunk_cosine(
    query_rows: Any,
    root_degree: Any,
    shrink: Any,
    item_indptr: Any,
    item_indices: Any,
    context_indptr: Any,
    context_indices: Any,
) -> Any:
    scores = np.zeros((len(query_rows), len(root_degree)), dtype=np.float32)
    for position in numba.prange(len(query_rows)):
        query = query_rows[position]
        row = scores[position]
        for edge in range(item_indptr[query], item_indptr[query + 1]):
            context = item_indices[edge]
            for other in range(context_indptr[context], context_indptr[context + 1]):
                row[context_indices[other]] += np.float32(1.0)
        for item in range(len(row)):
            if row[item] > 0:
                row[item] /= root_degree[query] * root_degree[item] + shrink
    return scores


@numba.njit(parallel=True, cache=True)
def _add_rows(query_rows: Any, indptr: Any, indices: Any, values: Any, scores: Any) -> None:
    for position in numba.prange(len(query_rows)):
        query = query_rows[position]
        for entry in range(indptr[query], indptr[query + 1]):
            scores[position, indices[entry]] += values[entry]
