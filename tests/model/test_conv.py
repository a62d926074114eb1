"""The convolution: both paths against Algorithm 1 written as loops over NumPy vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch_geometric.nn import MessagePassing

from pinsage.model.conv import PinSageConv
from pinsage.model.pooling import Aggregator, pool

Vectors = npt.NDArray[np.float64]


def algorithm_1(
    conv: PinSageConv, source: Tensor, target: Tensor, neighbors: Tensor, weights: Tensor
) -> Vectors:
    """Lines 1 to 3 of the paper, one node and one neighbour at a time, in double precision."""
    big_q, q, big_w, w = (
        p.detach().double().numpy()
        for p in (*conv.neighbour.parameters(), *conv.update_self.parameters())
    )
    rows = []
    for u, z_u in enumerate(target.double().numpy()):
        near = [
            (alpha, np.maximum(big_q @ source[v].double().numpy() + q, 0))
            for v, alpha in zip(neighbors[u].tolist(), weights[u].tolist(), strict=True)
            if v >= 0
        ]
        n_u = gamma(conv.aggregator, near, len(q))
        z_new = np.maximum(big_w @ np.concatenate([z_u, n_u]) + w, 0)
        norm = np.sqrt((z_new**2).sum())
        rows.append(z_new / norm if norm > 0 else z_new)
    return np.array(rows)


def gamma(aggregator: str, near: list[tuple[float, Vectors]], width: int) -> Vectors:
    """The pooling function of Algorithm 1."""
    if not near:
        return np.zeros(width)
    if aggregator == "max":
        largest: Vectors = np.array([vector for _, vector in near]).max(axis=0)
        return largest
    if aggregator == "mean":
        return sum((vector for _, vector in near), np.zeros(width)) / len(near)
    return sum((alpha * vector for alpha, vector in near), np.zeros(width))


def edges_of(neighbors: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    target, slot = (neighbors >= 0).nonzero(as_tuple=True)
    return torch.stack([neighbors[target, slot], target]), weights[target, slot]


@settings(max_examples=40, deadline=None)
@given(
    num_source=st.integers(1, 7),
    share=st.floats(0, 1),
    num_slots=st.integers(1, 5),
    widths=st.tuples(*[st.integers(1, 6)] * 3),
    padding=st.floats(0, 1),
    aggregator=st.sampled_from(["importance", "mean", "max"]),
    seed=st.integers(0, 10_000),
)
def test_both_paths_equal_algorithm_1(
    num_source: int,
    share: float,
    num_slots: int,
    widths: tuple[int, int, int],
    padding: float,
    aggregator: Aggregator,
    seed: int,
) -> None:
    num_target = max(1, round(share * num_source))
    torch.manual_seed(seed)
    conv = PinSageConv(*widths, aggregator)
    source = torch.randn(num_source, widths[0])
    target = source[:num_target]
    neighbors = torch.randint(0, num_source, (num_target, num_slots))
    neighbors[torch.rand(num_target, num_slots) < padding] = -1
    weights = torch.rand(num_target, num_slots) * (neighbors >= 0)
    edge_index, edge_weight = edges_of(neighbors, weights)
    with torch.no_grad():
        table = conv.forward_table(source, target, neighbors, weights)
        messages = conv((source, target), edge_index, edge_weight)
    expected = algorithm_1(conv, source, target, neighbors, weights)
    np.testing.assert_allclose(table, expected, atol=1e-6)
    np.testing.assert_allclose(messages, expected, atol=1e-6)
    lengths = table.norm(dim=1)
    assert all(length < 1e-6 or abs(length - 1) < 1e-6 for length in lengths.tolist())


@pytest.fixture
def by_hand() -> PinSageConv:
    """Q = 1, q = 0, W = identity, w = 0: z' is (z_u, n_u) cut at 0, of unit length."""
    conv = PinSageConv(1, 1, 2)
    with torch.no_grad():
        conv.neighbour.weight.fill_(1)
        conv.neighbour.bias.zero_()
        conv.update_self.weight.copy_(torch.eye(2))
        conv.update_self.bias.zero_()
    return conv


def test_an_example_by_hand(by_hand: PinSageConv) -> None:
    # n_0 = 3/4 · 4 + 1/8 · 8 + 1/8 · ReLU(-5) = 4, so z'_0 = (3, 4) / 5
    z = torch.tensor([[3.0], [4.0], [8.0], [-5.0]])
    neighbors, weights = torch.tensor([[1, 2, 3]]), torch.tensor([[0.75, 0.125, 0.125]])
    out = by_hand.forward_table(z, z[:1], neighbors, weights)
    torch.testing.assert_close(out, torch.tensor([[0.6, 0.8]]))


def test_one_tensor_is_source_and_target(by_hand: PinSageConv) -> None:
    # 0 → 1 with weight 1/2: z'_1 = (3, 1/2 · 8) / 5, and nobody sends to 0
    z = torch.tensor([[8.0], [3.0]])
    out = by_hand(z, torch.tensor([[0], [1]]), torch.tensor([0.5]))
    torch.testing.assert_close(out, torch.tensor([[1.0, 0.0], [0.6, 0.8]]))


def test_a_node_whose_units_are_all_off_is_zero_and_has_a_finite_gradient(
    by_hand: PinSageConv,
) -> None:
    z = torch.tensor([[-2.0]], requires_grad=True)
    out = by_hand.forward_table(z, z, torch.tensor([[-1]]), torch.zeros(1, 1))
    out.sum().backward()
    assert out.tolist() == [[0.0, 0.0]]
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_padding_reads_nothing_from_the_node_it_stands_on() -> None:
    projected = torch.randn(3, 4)
    neighbors, weights = torch.tensor([[2, -1], [-1, -1]]), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    expected = torch.stack([projected[2], torch.zeros(4)])
    torch.testing.assert_close(pool(projected, neighbors, weights), expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_the_gradient_of_the_pool_is_that_of_torchs_own(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    neighbors = torch.randint(-1, 30, (200, 7), generator=generator)
    weights = torch.rand(200, 7, generator=generator) * (neighbors >= 0)
    upstream = torch.randn(200, 16, generator=generator)
    ours, theirs = (torch.randn(30, 16, generator=generator).requires_grad_() for _ in range(2))
    pool(ours, neighbors.to(dtype), weights).backward(upstream)
    torch.nn.functional.embedding_bag(
        neighbors.clamp(min=0), theirs, mode="sum", per_sample_weights=weights
    ).backward(upstream)
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-6)


def test_in_bfloat16_a_node_of_many_targets_keeps_the_sum_of_their_gradients() -> None:
    # One by one in bfloat16 the sum would stand still at 256: 256 + 1 rounds to 256.
    projected = torch.ones(1, 4, dtype=torch.bfloat16, requires_grad=True)
    pooled = pool(projected, torch.zeros(4096, 1, dtype=torch.int32), torch.ones(4096, 1))
    pooled.sum().backward()
    assert projected.grad is not None
    assert projected.grad.tolist() == [[4096.0] * 4]


def test_of_an_empty_table_the_gradient_is_zero() -> None:
    projected = torch.ones(3, 4, requires_grad=True)
    pool(projected, torch.full((2, 2), -1), torch.zeros(2, 2)).sum().backward()
    assert projected.grad is not None
    assert projected.grad.tolist() == [[0.0] * 4] * 3


@pytest.mark.parametrize("aggregator", ["importance", "mean", "max"])
def test_the_gradient_is_that_of_the_formula(aggregator: Aggregator) -> None:
    torch.manual_seed(2)
    conv = PinSageConv(2, 3, 4, aggregator).double()
    neighbors = torch.tensor([[1, 2], [2, -1], [-1, -1]])
    weights = torch.tensor([[0.7, 0.3], [1.0, 0.0], [0.0, 0.0]]).double()
    z = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: conv.forward_table(x, x, neighbors, weights), z)


@pytest.mark.parametrize("aggregator", ["importance", "mean", "max"])
def test_both_paths_have_the_same_gradients(aggregator: Aggregator) -> None:
    torch.manual_seed(0)
    conv = PinSageConv(3, 4, 5, aggregator)
    neighbors, weights = torch.tensor([[1, 2], [2, -1]]), torch.tensor([[0.7, 0.3], [1.0, 0.0]])
    edge_index, edge_weight = edges_of(neighbors, weights)
    gradients = []
    for fused in (True, False):
        z = torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).requires_grad_()
        paths = (
            conv.forward_table(z, z[:2], neighbors, weights),
            conv((z, z[:2]), edge_index, edge_weight),
        )
        loss = (paths[0] if fused else paths[1])[:, 0].sum()
        gradients.append(torch.autograd.grad(loss, [z, *conv.parameters()]))
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right)


def test_it_is_a_layer_of_pyg() -> None:
    assert issubclass(PinSageConv, MessagePassing)
