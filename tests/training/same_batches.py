"""Whether minibatches are the same, bit for bit."""

from __future__ import annotations

from dataclasses import fields

import torch

from pinsage.training.loader import MiniBatch


def assert_same_batches(left: list[MiniBatch], right: list[MiniBatch]) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.nodes.num_targets == other.nodes.num_targets
        for name in (field.name for field in fields(MiniBatch) if field.name != "nodes"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        for name in ("rows_S", "neighbors_BT", "weights_BT"):
            assert torch.equal(getattr(one.nodes, name), getattr(other.nodes, name)), name
        assert one.nodes.features == other.nodes.features
