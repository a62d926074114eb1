"""A small random graph, pairs over it, and one scorer of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines import (
    ItemKNNScorer,
    PixieScorer,
    PopularityScorer,
    RandomScorer,
    TransitionScorer,
)
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.ranking import Scorer
from pinsage.graph.bipartite import BipartiteGraph

NUM_ITEMS, NUM_USERS = 60, 25


@pytest.fixture(scope="session")
def graph() -> BipartiteGraph:
    """60 items, the last 10 of them without an edge; 25 contexts; degrees from 0 to about 20."""
    rng = np.random.default_rng(1)
    item = (rng.random(300) ** 2 * (NUM_ITEMS - 10)).astype(np.int32)
    user = rng.integers(0, NUM_USERS, 300).astype(np.int32)
    return BipartiteGraph.from_edges(item, user, num_items=NUM_ITEMS, num_contexts=NUM_USERS)


def random_pairs(seed: int, size: int) -> Pairs:
    rng = np.random.default_rng(seed)
    query, step = rng.integers(0, NUM_ITEMS, size), rng.integers(1, NUM_ITEMS, size)
    return Pairs(
        rng.integers(0, NUM_USERS, size).astype(np.int32),
        query.astype(np.int32),
        ((query + step) % NUM_ITEMS).astype(np.int32),
    )


@pytest.fixture(scope="session")
def train_pairs() -> Pairs:
    return random_pairs(2, 400)


@pytest.fixture(scope="session")
def pairs() -> Pairs:
    return random_pairs(3, 200)


@pytest.fixture(scope="session")
def scorers(graph: BipartiteGraph, train_pairs: Pairs) -> dict[str, Scorer]:
    knn = ItemKNNScorer(graph, 5.0)
    embeddings = np.random.default_rng(4).standard_normal((NUM_ITEMS, 8)).astype(np.float32)
    every: list[Scorer] = [
        RandomScorer(NUM_ITEMS, 5),
        PopularityScorer(graph),
        knn,
        TransitionScorer.of(train_pairs.query_row, train_pairs.positive_row, knn),
        PixieScorer(graph, walks=200, length=2, restart=0.5, damping=0.2, seed=6),
        EmbeddingScorer("PinSage", embeddings),
    ]
    return {scorer.name: scorer for scorer in every}
