"""Baselines and embeddings as scorers of items for users, from the items that users have.

Shapes: N items, B users, K neighbours, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.contexts.pooling import mean
from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.evaluation.users import best_but
from pinsage.graph.bipartite import BipartiteGraph

_BLOCK = 512


@dataclass(frozen=True)
class PopularityUsers:
    """The number of users of an item in training, whoever asks."""

    graph: BipartiteGraph
    name: str = "popularity"

    def score(self, user_rows: Rows) -> Scores:
        """Scores, float32 [B, N], all rows the same."""
        return np.tile(self.graph.item_degree.astype(np.float32), (len(user_rows), 1))


@dataclass(frozen=True)
class ItemKNNUsers:
    """Sum over a user's items of their similarity to the item, among the item's K nearest alone.

    Similarities are the shrunk cosines of `ItemKNNScorer`. With `weighted_mean` an item's K
    similarities are divided by their sum and its popularity is what is assumed of a user that has
    none of its neighbours: p_ui = m_i + Σ_j s_ij (x_uj − m_j) / Σ_j s_ij, j among the K, m the
    share of users that have an item (Sarwar et al., WWW 2001, §3.2.1, with the item means of Ma et
    al., SIGIR 2007). Without, p_ui = Σ_j s_ij x_uj.

    Attributes:
        indptr, indices, weights: CSR from an item to those that count it among their K nearest,
            int64 [N + 1], int32 [N · K at most], float32
        bias: float32 [N], what every user is given
        graph: users are the contexts
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    graph: BipartiteGraph
    name: str = "item-kNN"

    @classmethod
    def of(
        cls, graph: BipartiteGraph, neighbours: int, *, shrink: float, weighted_mean: bool
    ) -> ItemKNNUsers:
        """Find the nearest neighbours; ties go to the smaller row. Memory: 12 N K bytes."""
        nearest, similarity = _nearest(ItemKNNScorer(graph, shrink), neighbours)
        bias = np.zeros(graph.num_items)
        if weighted_mean:
            total = similarity.sum(axis=1, keepdims=True, dtype=np.float64)
            similarity = (similarity / np.where(total > 0, total, 1)).astype(np.float32)
            mean = graph.item_degree / graph.num_contexts
            bias = mean - (similarity * mean[nearest]).sum(axis=1)
        item, place = np.nonzero(similarity > 0)
        by_neighbour = np.argsort(nearest[item, place], kind="stable")
        counts = np.bincount(nearest[item, place], minlength=graph.num_items)
        return cls(
            indptr=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            indices=item[by_neighbour].astype(np.int32),
            weights=similarity[item, place][by_neighbour],
            bias=bias.astype(np.float32),
            graph=graph,
        )

    def score(self, user_rows: Rows) -> Scores:
        """Scores, float32 [B, N]."""
        scores = np.tile(self.bias, (len(user_rows), 1))
        _add_sparse(
            user_rows, self.graph.context_indptr, self.graph.context_indices,
            self.indptr, self.indices, self.weights, scores,
        )  # fmt: skip
        return scores


@dataclass(frozen=True)
class EASEUsers:
    """x_u B: the sum of the rows of EASE's weights of a user's items (Steck, WWW 2019)."""

    ease: EASEScorer
    graph: BipartiteGraph
    name: str = "EASE"

    def score(self, user_rows: Rows) -> Scores:
        """Scores, float32 [B, N]; 0 for items that EASE does not know."""
        summed = np.zeros((len(user_rows), len(self.ease.items)), dtype=np.float32)
        _add_dense(
            user_rows, self.graph.context_indptr, self.graph.context_indices,
            self.ease.position, self.ease.weights, summed,
        )  # fmt: skip
        scores = np.zeros((len(user_rows), self.graph.num_items), dtype=np.float32)
        scores[:, self.ease.items] = summed
        return scores


@dataclass(frozen=True)
class EmbeddingUsers:
    """Inner product of a user's vector, the weighted mean of its items' vectors, with an item's.

    Attributes:
        embeddings: float32 [N, D]
        graph: users are the contexts
        weights: float32 [N], of each item in the mean; None weighs them alike
    """

    embeddings: npt.NDArray[np.float32]
    graph: BipartiteGraph
    weights: npt.NDArray[np.float32] | None = None
    name: str = "PinSage"

    def score(self, user_rows: Rows) -> Scores:
        """Scores, float32 [B, N]."""
        scores: Scores = self.vectors(user_rows) @ self.embeddings.T
        return scores

    def vectors(self, user_rows: Rows) -> npt.NDArray[np.float32]:
        """Vectors of users, float32 [B, D]; zeros for a user without items."""
        items = self.graph.context_indices
        return mean(user_rows, self.graph.context_indptr, items, self._edges, self.embeddings)

    @cached_property
    def _edges(self) -> npt.NDArray[np.float32]:
        items = self.graph.context_indices
        return np.ones(len(items), np.float32) if self.weights is None else self.weights[items]


def _nearest(knn: ItemKNNScorer, neighbours: int) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Each item's most similar others and how similar they are, [N, K] each; 0 pads."""
    size = knn.graph.num_items
    itself = np.arange(size, dtype=np.int32)
    nearest = np.empty((size, min(neighbours, size - 1)), dtype=np.int32)
    similarity = np.empty(nearest.shape, dtype=np.float32)
    for start in range(0, size, _BLOCK):
        rows = itself[start : start + _BLOCK]
        scores = knn.score(rows)
        best = best_but(scores, rows, np.arange(size + 1), itself, nearest.shape[1])
        nearest[rows] = best
        similarity[rows] = np.take_along_axis(scores, best, axis=1)
    return nearest, similarity


@numba.njit(parallel=True, cache=True)
def _add_sparse(
    users: Any,
    user_indptr: Any,
    user_indices: Any,
    indptr: Any,
    indices: Any,
    weights: Any,
    scores: Any,
) -> None:
    for place in numba.prange(len(users)):
        row = scores[place]
        for edge in range(user_indptr[users[place]], user_indptr[users[place] + 1]):
            item = user_indices[edge]
            for entry in range(indptr[item], indptr[item + 1]):
                row[indices[entry]] += weights[entry]


@numba.njit(parallel=True, cache=True)
def _add_dense(
    users: Any, user_indptr: Any, user_indices: Any, position: Any, weights: Any, scores: Any
) -> None:
    for place in numba.prange(len(users)):
        row = scores[place]
        for edge in range(user_indptr[users[place]], user_indptr[users[place] + 1]):
            known = position[user_indices[edge]]
            if known >= 0:
                other = weights[known]
                for item in range(len(row)):
                    row[item] += other[item]
