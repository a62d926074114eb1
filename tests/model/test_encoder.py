"""The input of the first convolution, with and without a vector an item."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.model.encoder import ItemEncoder
from pinsage.model.features import FeatureSpec

ROWS = torch.arange(5)


@pytest.fixture
def encoder(spec: FeatureSpec) -> ItemEncoder:
    """With vectors for four items; the second was never seen in training."""
    torch.manual_seed(0)
    made = ItemEncoder(spec, channels=4, width=6, num_ids=4, id_dropout=0.5)
    made.known.copy_(torch.tensor([True, False, True, True]))
    return made


def content_of(encoder: ItemEncoder, features: TensorFrame) -> Tensor:
    encoded, _ = encoder.columns(features)
    content: Tensor = encoder.project(encoded.flatten(1))
    return content


def has_id(encoder: ItemEncoder, features: TensorFrame, seed: int | None = None) -> list[bool]:
    """Which items' outputs differ from their content by exactly their vector."""
    assert encoder.ids is not None
    added = encoder(features, ROWS, seed) - content_of(encoder, features)
    expected = torch.cat([encoder.ids.weight, torch.ones(1, 6)])
    with_id = (added - expected).abs().amax(dim=1) < 1e-6
    assert (with_id | (added.abs().amax(dim=1) < 1e-6)).all()
    return list(with_id.tolist())


def test_without_ids_the_output_is_content_alone(spec: FeatureSpec, features: TensorFrame) -> None:
    encoder = ItemEncoder(spec, channels=4, width=6, num_ids=0, id_dropout=0.5)
    assert encoder.ids is None
    torch.testing.assert_close(encoder(features, ROWS), content_of(encoder, features))


def test_unseen_items_and_those_beyond_the_last_vector_have_content_alone(
    encoder: ItemEncoder, features: TensorFrame
) -> None:
    assert has_id(encoder, features) == [True, False, True, True, False]


def test_a_key_hides_vectors_and_repeats_itself(
    encoder: ItemEncoder, features: TensorFrame
) -> None:
    draws = [has_id(encoder, features, seed) for seed in range(200)]
    assert draws == [has_id(encoder, features, seed) for seed in range(200)]
    shown = torch.tensor(draws).float().mean(dim=0)
    assert shown[[1, 4]].tolist() == [0.0, 0.0]
    # 3 · 200 draws of probability 1/2: five standard errors are 5 · sqrt(1/4 / 600)
    assert shown[[0, 2, 3]].mean().item() == pytest.approx(0.5, abs=0.11)


def test_training_mode_without_a_key_hides_nothing(
    encoder: ItemEncoder, features: TensorFrame
) -> None:
    assert has_id(encoder.train(), features) == has_id(encoder.eval(), features)


def test_the_global_generator_is_left_alone(encoder: ItemEncoder, features: TensorFrame) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    encoder(features, ROWS, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_hidden_vector_gets_no_gradient(encoder: ItemEncoder, features: TensorFrame) -> None:
    assert encoder.ids is not None
    encoder(features, ROWS).sum().backward()
    gradient = encoder.ids.weight.grad
    assert gradient is not None
    assert gradient.abs().sum(dim=1).bool().tolist() == [True, False, True, True]
