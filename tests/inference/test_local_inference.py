"""Layer-wise embedding: the same in blocks of any size, and no node projected twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.config import ModelConfig
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.buffers import Buffers
from pinsage.inference.layers import encode_block, head_block, map_block, reduce_block
from pinsage.inference.local import embed_items
from pinsage.model.conv import PinSageConv
from pinsage.model.features import FeatureSpec
from pinsage.model.pinsage import PinSage

NUM_ITEMS, SIZE = 40, 5
ALONE = 39  # has no neighbours


@pytest.fixture(scope="module")
def table() -> Neighbourhoods:
    rng = np.random.default_rng(0)
    neighbors = rng.integers(0, NUM_ITEMS, (NUM_ITEMS, SIZE), dtype=np.int32)
    neighbors[rng.random(neighbors.shape) < 0.3] = -1
    neighbors[ALONE] = -1
    weights = rng.random(neighbors.shape, dtype=np.float32) * (neighbors >= 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return Neighbourhoods(neighbors, weights)


@pytest.fixture(scope="module")
def catalog() -> tuple[FeatureSpec, TensorFrame]:
    rng = np.random.default_rng(1)
    degree = rng.integers(0, 9, NUM_ITEMS)
    items = pd.DataFrame({"title": [f"tale {i % 7} of {i % 3}" for i in range(NUM_ITEMS)]})
    spec = FeatureSpec.fit(items, degree, {"title": "text"}, separator="|", text_buckets=64)
    return spec, spec.transform(items, degree)


@pytest.fixture(scope="module")
def model(catalog: tuple[FeatureSpec, TensorFrame]) -> PinSage:
    config = ModelConfig(layers=3, hidden=8, output=6, feature_channels=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = PinSage(config, catalog[0], NUM_ITEMS)
    made.encoder.known[ALONE] = False
    return made


@pytest.fixture(scope="module")
def features(catalog: tuple[FeatureSpec, TensorFrame]) -> TensorFrame:
    return catalog[1]


def at_once(
    model: PinSage, features: TensorFrame, table: Neighbourhoods
) -> npt.NDArray[np.float32]:
    """Every layer by message passing over the whole graph."""
    target, slot = np.nonzero(table.neighbors >= 0)
    edge_index = torch.from_numpy(np.stack([table.neighbors[target, slot], target]))
    edge_weight = torch.from_numpy(table.weights[target, slot])
    with torch.no_grad():
        h: Tensor = model.encoder(features, torch.arange(NUM_ITEMS))
        for conv in model.layers:
            h = conv(h, edge_index.long(), edge_weight)
        return model.head(h).numpy()


@pytest.mark.parametrize("block", [1, 7, NUM_ITEMS - 1, NUM_ITEMS, 10_000])
def test_blocks_of_any_size_equal_message_passing_over_the_whole_graph(
    model: PinSage, features: TensorFrame, table: Neighbourhoods, block: int
) -> None:
    embeddings = embed_items(model, features, table, block=block)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(embeddings, at_once(model, features, table), atol=1e-6)


def test_a_memory_mapped_table_gives_the_same_without_a_warning(
    model: PinSage, features: TensorFrame, table: Neighbourhoods, tmp_path: Path
) -> None:
    np.save(tmp_path / "neighbors.npy", table.neighbors)
    np.save(tmp_path / "weights.npy", table.weights)
    mapped = embed_items(model, features, Neighbourhoods.open(tmp_path), block=16)
    np.testing.assert_array_equal(mapped, embed_items(model, features, table, block=16))


@pytest.mark.parametrize("block", [1, 16, 10_000])
def test_every_node_is_projected_once_a_layer(
    model: PinSage,
    features: TensorFrame,
    table: Neighbourhoods,
    monkeypatch: pytest.MonkeyPatch,
    block: int,
) -> None:
    rows: dict[int, int] = {}

    def counted(conv: PinSageConv, h: Tensor, buffers: Buffers) -> Tensor:
        number = model.layers.index(conv)
        rows[number] = rows.get(number, 0) + len(h)
        return map_block(conv, h, buffers)

    monkeypatch.setattr("pinsage.inference.layerwise.map_block", counted)
    embed_items(model, features, table, block=block)
    assert rows == {0: NUM_ITEMS, 1: NUM_ITEMS, 2: NUM_ITEMS}


def test_an_item_without_neighbours_or_id_is_embedded_from_its_content(
    model: PinSage, features: TensorFrame, table: Neighbourhoods
) -> None:
    embeddings = embed_items(model, features, table, block=16)
    assert np.isfinite(embeddings[ALONE]).all()
    # Whatever the others' ids and neighbourhoods are, it stays what it is.
    changed = Neighbourhoods(np.roll(table.neighbors[:-1], 3, axis=0), table.weights[:-1])
    other = Neighbourhoods(
        np.vstack([changed.neighbors, table.neighbors[-1:]]),
        np.vstack([changed.weights, table.weights[-1:]]),
    )
    np.testing.assert_allclose(
        embed_items(model, features, other, block=16)[ALONE], embeddings[ALONE], atol=1e-6
    )


def test_embedding_leaves_no_graph_and_draws_nothing(
    model: PinSage, features: TensorFrame, table: Neighbourhoods
) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = embed_items(model.train(), features, table, block=16)
    second = embed_items(model.eval(), features, table, block=16)
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_map_and_reduce_make_up_the_convolution(
    model: PinSage, features: TensorFrame, table: Neighbourhoods
) -> None:
    conv = model.layers[0]
    h = encode_block(model, features, torch.arange(NUM_ITEMS)).clone()
    neighbors, weights = torch.from_numpy(table.neighbors).long(), torch.from_numpy(table.weights)
    with torch.no_grad():
        whole = conv.forward_table(h, h, neighbors, weights)
        expected = model.head(whole)
    rows = slice(10, 20)
    block = reduce_block(conv, h[rows], map_block(conv, h), neighbors[rows], weights[rows])
    torch.testing.assert_close(block, whole[rows])
    torch.testing.assert_close(head_block(model, whole), expected)
