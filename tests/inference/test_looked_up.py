"""A block's own rows, for a GPU without room for a layer; shown with tensors of the CPU."""

from __future__ import annotations

import torch

from pinsage.inference.buffers import Buffers
from pinsage.inference.looked_up import brought, looked_up
from pinsage.model.pooling import pool


def test_on_the_cpu_a_layer_is_looked_up_where_it_lies() -> None:
    projected, rows = torch.rand(9, 4), torch.tensor([[1, -1]], dtype=torch.int32)
    found, positions = looked_up(projected, torch.device("cpu"))(rows, Buffers())
    assert found is projected
    assert positions is rows


def test_distinct_rows_are_brought_once_and_pool_to_the_same() -> None:
    projected = torch.rand(9, 4)
    rows = torch.tensor([[7, 2, -1], [2, 7, 7], [-1, -1, -1]], dtype=torch.int32)
    weights = torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.0, 0.0, 0.0]])
    found, positions = brought(projected, rows, Buffers())
    assert len(found) == 3  # 2, 7, and row 0 in place of nobody
    assert ((positions < 0) == (rows < 0)).all()
    torch.testing.assert_close(pool(found, positions, weights), pool(projected, rows, weights))


def test_buffers_are_used_again_and_grow() -> None:
    buffers = Buffers()
    large = buffers.host("a", (4, 3), torch.float32)
    assert buffers.host("a", (2, 3), torch.float32).data_ptr() == large.data_ptr()
    assert buffers.host("b", (4, 3), torch.float32).data_ptr() != large.data_ptr()
    assert buffers.host("a", (5, 3), torch.float32).shape == (5, 3)
