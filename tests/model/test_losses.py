"""The max-margin loss, against two loops and by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinsage.model.losses import max_margin_loss


def two_loops(q: Tensor, i: Tensor, n: Tensor, allowed: Tensor, margin: float) -> float:
    total = 0.0
    for p in range(len(q)):
        hinges = [
            max(0.0, float(q[p] @ n[m]) - float(q[p] @ i[p]) + margin)
            for m in range(len(n))
            if allowed[p, m]
        ]
        total += sum(hinges) / len(hinges) if hinges else 0.0
    return total / len(q)


@settings(max_examples=40, deadline=None)
@given(
    num_pairs=st.integers(1, 6),
    num_negatives=st.integers(1, 6),
    share=st.floats(0, 1),
    margin=st.floats(0.01, 2),
    seed=st.integers(0, 10_000),
)
def test_it_equals_two_loops(
    num_pairs: int, num_negatives: int, share: float, margin: float, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    q, i = torch.randn(2, num_pairs, 3, generator=rng)
    n = torch.randn(num_negatives, 3, generator=rng)
    allowed = torch.rand(num_pairs, num_negatives, generator=rng) < share
    loss = max_margin_loss(q, i, n, allowed, margin=margin)
    assert loss.item() == pytest.approx(two_loops(q, i, n, allowed, margin), abs=1e-5)


ONE = torch.tensor([[1.0, 0.0]])
NEGATIVES = torch.tensor([[0.5, 9.0], [0.1, 9.0], [0.75, 0.0]])


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        # z_q · z_i = 0.6, margin 0.2: hinges 0.5 - 0.4, max(0, 0.1 - 0.4), 0.75 - 0.4
        ([True, True, True], (0.1 + 0.0 + 0.35) / 3),
        ([True, True, False], (0.1 + 0.0) / 2),
        ([False, False, True], 0.35),
        ([False, False, False], 0.0),
    ],
)
def test_masked_negatives_count_neither_above_nor_below_the_line(
    allowed: list[bool], expected: float
) -> None:
    positive = torch.tensor([[0.6, 7.0]])
    loss = max_margin_loss(ONE, positive, NEGATIVES, torch.tensor([allowed]), margin=0.2)
    assert loss.item() == pytest.approx(expected)


def test_a_pair_without_negatives_adds_nothing_but_is_counted() -> None:
    queries, positives = ONE.expand(2, 2), torch.tensor([[0.6, 0.0], [0.6, 0.0]])
    allowed = torch.tensor([[True, True, True], [False, False, False]])
    loss = max_margin_loss(queries, positives, NEGATIVES, allowed, margin=0.2)
    assert loss.item() == pytest.approx((0.45 / 3 + 0) / 2)


def test_a_positive_above_all_negatives_by_the_margin_costs_nothing() -> None:
    loss = max_margin_loss(ONE, 2 * ONE, NEGATIVES, torch.ones(1, 3, dtype=torch.bool), margin=1.25)
    assert loss.item() == 0.0


def test_the_gradient_is_that_of_the_formula() -> None:
    rng = torch.Generator().manual_seed(4)
    q, i = (
        torch.randn(4, 3, generator=rng, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    n = torch.randn(5, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    allowed = torch.rand(4, 5, generator=rng) < 0.7

    def loss(query: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return max_margin_loss(query, positive, negative, allowed, margin=0.5)

    assert torch.autograd.gradcheck(loss, (q, i, n), atol=1e-7)


def test_no_gradient_reaches_a_negative_that_nobody_may_use() -> None:
    negatives = NEGATIVES.clone().requires_grad_()
    allowed = torch.tensor([[True, True, False]])
    max_margin_loss(ONE, 0.5 * ONE, negatives, allowed, margin=1.0).backward()
    assert negatives.grad is not None
    assert negatives.grad[2].tolist() == [0.0, 0.0]
    assert negatives.grad[0, 0].item() == pytest.approx(0.5)
