"""A planted town: 48 items in 4 quarters that only the graph knows of, and 2 nobody has visited."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pinsage.config import ModelConfig, NegativesConfig, NeighbourhoodConfig
from pinsage.data.pairs import Pairs
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import build_neighbourhoods
from pinsage.model.features import FeatureSpec
from pinsage.model.pinsage import PinSage
from pinsage.training.loader import PairLoader
from pinsage.training.negatives import SharedNegatives
from pinsage.training.pairs import TrainingPairs
from pinsage.training.sampler import NeighbourhoodSampler

NUM_ITEMS, NUM_QUARTERS, NUM_USERS, VISITS = 50, 4, 40, 9
QUARTER = 12


@dataclass(frozen=True)
class Visits:
    """Visited items in order, int32 [users, visits]: all of a user's in one quarter."""

    items: np.ndarray[tuple[int, int], np.dtype[np.int32]]

    def pairs(self, first: int, last: int) -> Pairs:
        window = self.items[:, first:last]
        query, positive = window[:, :-1].ravel(), window[:, 1:].ravel()
        user = np.repeat(np.arange(NUM_USERS, dtype=np.int32), window.shape[1] - 1)
        kept = query != positive
        return Pairs(user[kept], query[kept], positive[kept])


@pytest.fixture(scope="session")
def town() -> SimpleNamespace:
    """`graph`, `table`, `degree`, `spec`, `features`, `pairs`, weighted `training`, `valid`."""
    rng = np.random.default_rng(3)
    quarter = rng.integers(0, NUM_QUARTERS, (NUM_USERS, 1))
    inside = rng.integers(0, QUARTER, (NUM_USERS, VISITS))
    visits = Visits((quarter * QUARTER + inside).astype(np.int32))
    seen = visits.items[:, :6]
    users = np.repeat(np.arange(NUM_USERS, dtype=np.int32), seen.shape[1])
    graph = BipartiteGraph.from_edges(
        seen.ravel(), users, num_items=NUM_ITEMS, num_contexts=NUM_USERS
    )
    walks = NeighbourhoodConfig(size=4, walks=30, length=3, restart=0.4)
    items = pd.DataFrame({"colour": rng.choice(["red", "green", "blue"], NUM_ITEMS)})
    spec = FeatureSpec.fit(
        items, graph.item_degree, {"colour": "categorical"}, separator="|", text_buckets=8
    )
    pairs = visits.pairs(0, 6)
    return SimpleNamespace(
        graph=graph,
        table=build_neighbourhoods(graph, walks, 7),
        degree=graph.item_degree,
        spec=spec,
        features=spec.transform(items, graph.item_degree),
        pairs=pairs,
        training=TrainingPairs(pairs, np.ones(len(pairs), dtype=np.float32)),
        valid=visits.pairs(5, VISITS),
    )


@pytest.fixture
def make_sampler(town: SimpleNamespace) -> Callable[..., NeighbourhoodSampler]:
    """`make_sampler(**changes)`: two hops over the town, 10 negatives among visited items."""

    def make(**changes: Any) -> NeighbourhoodSampler:
        config = NegativesConfig(shared=10)
        negatives = SharedNegatives.of(town.degree, town.pairs.positive_row, config, seed=1)
        return NeighbourhoodSampler(town.table, **{"hops": 2, "negatives": negatives, **changes})

    return make


@pytest.fixture
def make_loader(
    town: SimpleNamespace, make_sampler: Callable[..., NeighbourhoodSampler]
) -> Callable[..., PairLoader]:
    """`make_loader(**changes)`: batches of 32 of the town's pairs."""

    def make(**changes: Any) -> PairLoader:
        usual = {"batch_size": 32, "seed": 1}
        return PairLoader(
            town.training, [town.table], town.features, make_sampler(), **{**usual, **changes}
        )

    return make


@pytest.fixture
def make_model(town: SimpleNamespace) -> Callable[..., PinSage]:
    """`make_model(seed=0, **changes)`: a fresh small model with ids."""

    def make(seed: int = 0, **changes: Any) -> PinSage:
        usual = {"layers": 2, "hidden": 12, "output": 8, "feature_channels": 4}
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = PinSage(ModelConfig(**{**usual, **changes}), town.spec, NUM_ITEMS)
        if model.config.id_embedding:
            model.encoder.known.copy_(torch.from_numpy(town.degree > 0))
        return model

    return make


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
