"""Items never seen: what the model says of them, against the whole enlarged catalog at once."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from torch import Tensor

from pinsage import stages
from pinsage.config import Config, ModelConfig, NeighbourhoodConfig
from pinsage.errors import TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import (
    Neighbourhoods,
    build_neighbourhoods,
    newcomers_neighbourhoods,
)
from pinsage.inference import newcomers as module
from pinsage.inference.layers import map_block
from pinsage.inference.local import embed_items, embed_trained, read_items
from pinsage.inference.newcomers import Catalog, embed_among, embed_by_content, reached_rows
from pinsage.model.conv import PinSageConv
from pinsage.model.features import FeatureSpec
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.store import Store

NUM_ITEMS, NUM_NEW, SIZE = 60, 4, 3
KINDS: dict[str, Any] = {"title": "text", "year": "numerical", "brand": "categorical"}
Matrix = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    """Sixty items with neighbours in two directions along a ring, a few without any."""
    rng = np.random.default_rng(3)
    neighbors = (np.arange(NUM_ITEMS)[:, None] + [1, 2, -1]) % NUM_ITEMS
    weights = rng.random((NUM_ITEMS, SIZE), dtype=np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    neighbors[::9], weights[::9] = -1, 0
    items = pd.DataFrame(
        {
            "title": [f"tale {i % 7} of {i % 3}" for i in range(NUM_ITEMS)],
            "year": rng.integers(1950, 2020, NUM_ITEMS),
            "brand": rng.choice(np.array(["a", "b", None], dtype=object), NUM_ITEMS),
        }
    )
    degree = rng.integers(0, 9, NUM_ITEMS)
    return Catalog(items, degree, Neighbourhoods(neighbors.astype(np.int32), weights))


@pytest.fixture
def model(catalog: Catalog, request: pytest.FixtureRequest) -> PinSage:
    """With vectors for all items but the last two, as after a split; of two layers or so many."""
    spec = FeatureSpec.fit(catalog.items, catalog.degree, KINDS, separator="|", text_buckets=64)
    layers = getattr(request, "param", 2)
    config = ModelConfig(layers=layers, hidden=8, output=6, feature_channels=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return PinSage(config, spec, NUM_ITEMS - 2).eval()


@pytest.fixture
def new() -> pd.DataFrame:
    """The second brand is unknown, the third item has nothing but a title."""
    return pd.DataFrame(
        {
            "title": ["tale 3 of 2", "another story", "tale 1", None],
            "year": [1999.0, 2031.0, None, 1960.0],
            "brand": ["a", "z", None, "b"],
        }
    )


@pytest.fixture
def near() -> Neighbourhoods:
    """The third has no neighbour, the others one to three."""
    neighbors = [[5, 17, 18], [59, 0, -1], [-1] * 3, [17, -1, -1]]
    weights = [[0.5, 0.3, 0.2], [0.75, 0.25, 0], [0] * 3, [1, 0, 0]]
    return Neighbourhoods(np.array(neighbors, np.int32), np.array(weights, np.float32))


DEGREE = np.array([4, 2, 0, 1])


def at_once(
    model: PinSage, new: pd.DataFrame, degree: Any, near: Neighbourhoods, catalog: Catalog
) -> Matrix:
    """Message passing over the enlarged catalog, all layers of all items; the new ones' rows."""
    neighbors = np.vstack([catalog.table.neighbors, near.neighbors])
    weights = np.vstack([catalog.table.weights, near.weights])
    target, slot = np.nonzero(neighbors >= 0)
    edge_index = torch.from_numpy(np.stack([neighbors[target, slot], target])).long()
    edge_weight = torch.from_numpy(weights[target, slot])
    items = pd.concat([catalog.items, new], ignore_index=True)
    features = model.spec.transform(items, np.concatenate([catalog.degree, degree]))
    with torch.no_grad():
        h: Tensor = model.encoder(features, torch.arange(len(items)))
        for conv in model.layers:
            h = conv(h, edge_index, edge_weight)
        return model.head(h)[len(catalog.items) :].numpy()


@pytest.mark.parametrize("block", [1, 7, 4096])
@pytest.mark.parametrize("model", [1, 2, 3], indirect=True)
def test_it_equals_message_passing_over_the_enlarged_catalog(
    model: PinSage,
    new: pd.DataFrame,
    near: Neighbourhoods,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    found = embed_among(model, new, DEGREE, near, catalog)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, at_once(model, new, DEGREE, near, catalog), atol=1e-6)


def test_an_item_without_a_neighbour_rests_on_content(
    model: PinSage, new: pd.DataFrame, near: Neighbourhoods, catalog: Catalog
) -> None:
    nobody = Neighbourhoods(np.full_like(near.neighbors, -1), np.zeros_like(near.weights))
    among = embed_among(model, new, DEGREE, nobody, catalog)
    np.testing.assert_array_equal(among, embed_by_content(model, new, DEGREE))
    np.testing.assert_allclose(among, at_once(model, new, DEGREE, nobody, catalog), atol=1e-6)
    one = embed_by_content(model, new.iloc[[2]])
    np.testing.assert_allclose(one, embed_among(model, new, DEGREE, near, catalog)[2:3], atol=1e-6)


def test_no_item_within_reach_is_projected_twice_and_no_other_at_all(
    model: PinSage,
    new: pd.DataFrame,
    near: Neighbourhoods,
    catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    projected: list[list[int]] = [[], []]

    def counted(conv: PinSageConv, h: Tensor) -> Tensor:
        projected[model.layers.index(conv)].append(len(h))
        return map_block(conv, h)

    monkeypatch.setattr(module, "map_block", counted)
    embed_among(model, new, DEGREE, near, catalog)
    # Neighbours are 0, 5, 17, 18, 59; 0 and 18 have none, the others n-1, n+1, n+2 each.
    around = {0, 5, 17, 18, 59} | {4, 6, 7} | {16, 18, 19} | {58, 0, 1}
    assert projected == [[len(around)], [5]]
    first, second = reached_rows(catalog.table, near, 2)
    assert (first.tolist(), second.tolist()) == (sorted(around), [0, 5, 17, 18, 59])


def test_interactions_and_neighbours_make_a_difference(
    model: PinSage, new: pd.DataFrame, near: Neighbourhoods, catalog: Catalog
) -> None:
    by_content = embed_by_content(model, new)
    changed = np.abs(embed_among(model, new, DEGREE, near, catalog) - by_content).max(axis=1)
    assert (changed > 1e-3).tolist() == [True, True, False, True]


def test_a_missing_column_is_refused(model: PinSage, new: pd.DataFrame) -> None:
    with pytest.raises(TrainingError, match="no column 'year'"):
        embed_by_content(model, new.drop(columns="year"))


def test_no_newcomer_is_no_row(model: PinSage, new: pd.DataFrame) -> None:
    assert embed_by_content(model, new.iloc[:0]).shape == (0, 6)


def test_a_real_version_embeds_a_newcomer_as_a_catalog_and_graph_that_hold_it(
    tiny_run: SimpleNamespace,
) -> None:
    """The newcomer is item 5 under another name, with five of sixty users."""
    model = load_model(tiny_run.train.path / "model")
    graph = BipartiteGraph.open(tiny_run.full_graph.path)
    table = Neighbourhoods.open(tiny_run.full_table.path)
    items = read_items(tiny_run.ingest.path)
    walks: NeighbourhoodConfig = tiny_run.config.neighbourhoods
    users = np.array([2, 4, 6, 8, 59], dtype=np.int32)
    grown = BipartiteGraph.from_edges(
        np.append(
            np.repeat(np.arange(graph.num_items, dtype=np.int32), graph.item_degree),
            np.full_like(users, graph.num_items),
        ),
        np.append(graph.item_indices, users),
        num_items=graph.num_items + 1,
        num_contexts=graph.num_contexts,
    )
    walked = build_neighbourhoods(grown, walks, tiny_run.config.seed)
    held = Neighbourhoods(
        np.vstack([table.neighbors, walked.neighbors[-1:]]),
        np.vstack([table.weights, walked.weights[-1:]]),
    )
    enlarged = pd.concat([items, items.iloc[[5]]], ignore_index=True)
    degree = np.append(graph.item_degree, len(users))
    expected = embed_items(model, model.spec.transform(enlarged, degree), held, block=16)
    near = newcomers_neighbourhoods(graph, [users], walks, tiny_run.config.seed)
    catalog = Catalog(items, graph.item_degree, table)
    found = embed_among(model, items.iloc[[5]], np.array([5]), near, catalog)
    assert (near.neighbors >= 0).any()
    np.testing.assert_allclose(found, expected[-1:], atol=1e-6)
    published = np.load(tiny_run.embed.file("embeddings.npy"))
    np.testing.assert_allclose(expected[:-1], published, atol=1e-6)


def test_a_newcomer_without_interactions_is_the_cold_item_of_a_catalog(
    tiny_run: SimpleNamespace, tmp_path: Any, make_tiny_config: Callable[..., Config]
) -> None:
    config = make_tiny_config(tmp_path)
    with (tmp_path / "data" / "items.csv").open("a") as handle:
        handle.write("i99,Harbour tale 99,harbour,,t1|t9\n")
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    built = stages.graph(config, store, ingested, ingested)
    table = stages.neighbourhoods(config, store, built, ingested)
    whole = embed_trained(config, ingested.path, built.path, table.path, tiny_run.train.path)
    items = read_items(ingested.path)
    assert items["item_id"].iloc[-1] == "i99"
    model = load_model(tiny_run.train.path / "model")
    np.testing.assert_allclose(embed_by_content(model, items.iloc[[-1]]), whole[-1:], atol=1e-6)
