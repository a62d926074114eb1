"""Matrix factorisation by the library `implicit`: ALS and BPR, item to item by item factors.

ALS: Hu, Koren & Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
BPR: Rendle et al., "Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.

Invariant: one seed gives the same factors, bit for bit, for any number of threads. ALS solves each
row by itself, so it takes all threads, with BLAS held to one; BPR's threads would overwrite each
other's updates, so it takes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pinsage.content.columns import unit_rows
from pinsage.errors import TrainingError
from pinsage.evaluation.baselines.vectors import Matrix, vector_scorer
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.graph.bipartite import BipartiteGraph

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_ALS_ROUNDS = 15  # the library's own default: later rounds change no rank worth a pair
_BPR_REGULARIZATION = 0.01


def als_factors(
    graph: BipartiteGraph, *, factors: int, regularization: float, alpha: float, seed: int
) -> Matrix:
    """Item factors of weighted ALS, float32 [N, factors]; zeros without a context.

    A context's items are fitted with confidence `alpha`, all others with 1.
    """
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularization, alpha=alpha, iterations=_ALS_ROUNDS,
            num_threads=0, random_state=seed,
        )  # fmt: skip
        _fit(model, graph, "ALS")
    return np.asarray(model.item_factors, dtype=np.float32)


def als_scorer(
    graph: BipartiteGraph, item_factors: Matrix, settings: Mapping[str, Any]
) -> EmbeddingScorer:
    """Similar items by the cosine or the inner product of their factors, as `similarity` says."""
    cosine = settings["similarity"] == "cosine"
    vectors = unit_rows(item_factors) if cosine else item_factors
    return vector_scorer("ALS", vectors, vectors, _known(graph), settings)


def bpr_factors(
    graph: BipartiteGraph, *, factors: int, learning_rate: float, rounds: int, seed: int
) -> Matrix:
    """Item factors of BPR with the item's bias as last column, float32 [N, factors + 1].

    A round draws as many (context, item, other item) triples as the graph has edges; the other
    item is drawn by popularity. Zeros without a context.
    """
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=factors, learning_rate=learning_rate, regularization=_BPR_REGULARIZATION,
        iterations=rounds, num_threads=1, random_state=seed,
    )  # fmt: skip
    _fit(model, graph, "BPR")
    return np.asarray(model.item_factors, dtype=np.float32)


def bpr_scorer(
    graph: BipartiteGraph, item_factors: Matrix, settings: Mapping[str, Any]
) -> EmbeddingScorer:
    """Similar items by the cosine of their factors, or the inner product plus the item's bias.

    The bias belongs to the item that is scored: for a given query its own is a constant.
    """
    if settings["similarity"] == "cosine":
        vectors = unit_rows(item_factors[:, :-1])
        return vector_scorer("BPR", vectors, vectors, _known(graph), settings)
    queries = item_factors.copy()
    queries[:, -1] = 1.0
    return vector_scorer("BPR", queries, item_factors, _known(graph), settings)


def _fit(model: Any, graph: BipartiteGraph, name: str) -> None:
    from implicit.recommender_base import ModelFitError

    try:
        model.fit(_contexts_by_items(graph), show_progress=False)
    except ModelFitError:
        raise TrainingError(
            f"{name}: the factors are not finite after training on {graph.num_edges:,} edges; "
            f"leave {name} out of evaluation.baselines"
        ) from None


def _contexts_by_items(graph: BipartiteGraph) -> csr_matrix:
    """The graph as `implicit` takes it: float32 [C, N], 1 where a context has an item."""
    from scipy.sparse import csr_matrix

    ones = np.ones(graph.num_edges, dtype=np.float32)
    # Copies: what is memory-mapped is read-only, which the library's kernels refuse.
    indices, indptr = np.array(graph.context_indices), np.array(graph.context_indptr)
    shape = (graph.num_contexts, graph.num_items)
    return csr_matrix((ones, indices, indptr), shape=shape)


def _known(graph: BipartiteGraph) -> npt.NDArray[np.bool_]:
    return graph.item_degree > 0
