"""What is trained is what is deployed: a minibatch embeds as layer-wise inference does."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

from pinsage.inference.local import embed_items
from pinsage.model.pinsage import Nodes, PinSage
from pinsage.training.loader import PairLoader
from pinsage.training.sampler import NeighbourhoodSampler

MakeModel = Callable[..., PinSage]


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_minibatch_equals_layer_wise_inference(
    town: SimpleNamespace,
    make_model: MakeModel,
    make_sampler: Callable[..., NeighbourhoodSampler],
    make_loader: Callable[..., PairLoader],
    layers: int,
    *,
    ids: bool,
    normalize: bool,
) -> None:
    model = make_model(layers=layers, id_embedding=ids, normalize=normalize)
    whole = embed_items(model, town.features, town.table, block=16)
    loader = PairLoader(
        town.training, [town.table], town.features, make_sampler(hops=layers), batch_size=8, seed=1
    )
    for batch, _ in zip(loader, range(3), strict=False):
        with torch.no_grad():
            z = model(batch.nodes).numpy()
        targets = batch.nodes.rows_S[: len(z)]
        np.testing.assert_allclose(z, whole[targets], atol=1e-5)


def test_items_without_a_neighbour_are_the_same_in_both(
    town: SimpleNamespace,
    make_model: MakeModel,
    make_sampler: Callable[..., NeighbourhoodSampler],
) -> None:
    model = make_model()
    seeds = torch.tensor([49, 0, 48])
    out = make_sampler().sample_from_nodes(NodeSamplerInput(None, seeds))
    _, local = out.metadata
    nodes = Nodes(
        rows_S=out.node,
        features=town.features[out.node],
        neighbors_BT=local,
        weights_BT=torch.from_numpy(town.table.weights[out.node[: len(local)]]),
        num_targets=(len(local), 3),
    )
    with torch.no_grad():
        z = model(nodes).numpy()
    whole = embed_items(model, town.features, town.table, block=64)
    np.testing.assert_allclose(z, whole[seeds], atol=1e-5)
    assert np.isfinite(z).all()
