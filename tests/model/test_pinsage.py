"""The whole model: layers inside out, and the head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.config import ModelConfig
from pinsage.model.features import FeatureSpec
from pinsage.model.pinsage import Nodes, PinSage

CONFIG = ModelConfig(layers=2, hidden=8, output=6, feature_channels=4, id_embedding=False)


@pytest.fixture
def model(spec: FeatureSpec) -> PinSage:
    torch.manual_seed(0)
    return PinSage(CONFIG, spec, 5)


@pytest.fixture
def nodes(features: TensorFrame) -> Nodes:
    """Item 3 is asked for; its neighbours are 0 and 4, those of 0 is 2, 4 has none."""
    rows = torch.tensor([3, 0, 4, 2])
    return Nodes(
        rows_S=rows,
        features=features[rows],
        neighbors_BT=torch.tensor([[1, 2], [3, -1], [-1, -1]]),
        weights_BT=torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.0, 0.0]]),
        num_targets=(3, 1),
    )


def by_message_passing(model: PinSage, nodes: Nodes) -> Tensor:
    """Algorithm 2 over the whole batch as one graph: every layer computes every node."""
    h: Tensor = model.encoder(nodes.features, nodes.rows_S)
    edge_index = torch.tensor([[1, 2, 3], [0, 0, 1]])
    edge_weight = torch.tensor([0.75, 0.25, 1.0])
    for conv in model.layers:
        h = conv(h, edge_index, edge_weight)
    hidden = (h @ model.head_hidden.weight.T + model.head_hidden.bias).clamp(min=0)
    z = hidden @ model.head_output.weight.T
    return z / z.norm(dim=1, keepdim=True) if model.config.normalize else z


@pytest.mark.parametrize("normalize", [True, False])
def test_it_equals_message_passing_over_all_nodes(
    spec: FeatureSpec, nodes: Nodes, *, normalize: bool
) -> None:
    model = PinSage(CONFIG.model_copy(update={"normalize": normalize}), spec, 5)
    torch.testing.assert_close(model(nodes), by_message_passing(model, nodes)[:1])


def test_embeddings_have_the_size_and_the_length_of_the_configuration(
    model: PinSage, nodes: Nodes
) -> None:
    z = model(nodes)
    assert z.shape == (1, 6)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(1))


def test_layers_have_weights_of_their_own(model: PinSage) -> None:
    first, second = model.layers
    assert len(model.layers) == CONFIG.layers
    assert not torch.equal(first.neighbour.weight, second.neighbour.weight)


def test_the_output_layer_has_no_bias_as_in_the_paper(model: PinSage) -> None:
    assert model.head_output.bias is None


def test_a_node_outside_the_neighbourhood_does_not_matter(
    model: PinSage, nodes: Nodes, features: TensorFrame
) -> None:
    # Item 4 has no neighbour: what item 2 is reaches item 3 through item 0 alone.
    alone = Nodes(
        rows_S=nodes.rows_S,
        features=features[torch.tensor([3, 0, 4, 1])],
        neighbors_BT=torch.tensor([[-1, 2], [3, -1], [-1, -1]]),
        weights_BT=torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]),
        num_targets=nodes.num_targets,
    )
    other = Nodes(
        alone.rows_S, features[nodes.rows_S], alone.neighbors_BT, alone.weights_BT, (3, 1)
    )
    torch.testing.assert_close(model(alone), model(other))


def test_nodes_move_as_a_whole(nodes: Nodes) -> None:
    moved = nodes.to(torch.device("meta"))
    assert {moved.rows_S.device.type, moved.neighbors_BT.device.type} == {"meta"}
    assert moved.weights_BT.device.type == moved.features.device.type == "meta"
    assert moved.num_targets == (3, 1)
