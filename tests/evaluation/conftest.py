"""A small random graph with pairs and scorers, and two tastes that one can read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import ItemsConfig
from pinsage.content.columns import Content
from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines import (
    Evidence,
    ItemKNNScorer,
    PixieScorer,
    PopularityScorer,
    RandomScorer,
    Steps,
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
        TransitionScorer.of(Steps.of(train_pairs, NUM_ITEMS), knn, {"backward": 0.5}),
        PixieScorer(graph, walks=200, length=2, restart=0.5, damping=0.2, seed=6),
        EmbeddingScorer("PinSage", embeddings),
    ]
    return {scorer.name: scorer for scorer in every}


@pytest.fixture(scope="session")
def tastes(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Ten items; thirty users took items 0 to 3, and thirty others 4 to 7, in rotated orders.

    Nobody took 8 and 9. The catalog says `tea` of items 0 to 3 and 8, `coffee` of 4 to 7, and
    nothing of 9.
    """
    user = np.repeat(np.arange(60), 4)
    step = np.tile(np.arange(4), 60)
    item = (user % 2) * 4 + (step + user // 2) % 4
    table = pa.table(
        {
            "user_row": pa.array(user, pa.int32()),
            "item_row": pa.array(item, pa.int32()),
            "timestamp": pa.array(user * 100 + step, pa.int64()),
        }
    )
    interactions = tmp_path_factory.mktemp("tastes") / "train.parquet"
    pq.write_table(table, interactions)
    drinks = [*["tea"] * 4, *["coffee"] * 4, "tea", None]
    catalog = pd.DataFrame({"drink": pd.Series(drinks, dtype="object")})
    declared = ItemsConfig(path="items.csv", features={"drink": "categorical"})
    return Evidence(
        graph=BipartiteGraph.from_edges(
            item.astype(np.int32), user.astype(np.int32), num_items=10, num_contexts=60
        ),
        interactions=interactions,
        content=Content.of(catalog, declared),
        seed=7,
    )
