"""The losses, against loops over floats in double precision, and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pinsage.model.losses import (
    Scores,
    cross_entropy_loss,
    crowding,
    max_margin_loss,
    softmax_loss,
)

Loss = Callable[..., Tensor]
CASES: list[tuple[Loss, dict[str, float]]] = [
    (max_margin_loss, {"margin": 0.3}),
    (cross_entropy_loss, {"temperature": 0.5}),
    (softmax_loss, {"temperature": 0.5}),
]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def of_pair(loss: Loss, i: float, negatives: list[float], hard: list[float], logs: list[float],
            margin: float = 0, temperature: float = 1) -> float:  # fmt: skip
    if loss is max_margin_loss:
        return sum(mean([max(0.0, n - i + margin) for n in group]) for group in (negatives, hard))
    if loss is cross_entropy_loss:
        no = [mean([-math.log(1 - sigmoid(n / temperature)) for n in g]) for g in (negatives, hard)]
        return -math.log(sigmoid(i / temperature)) + sum(no)
    drawn = zip(negatives, logs, strict=True)
    counted = sum(math.exp(n / temperature) / math.exp(log) for n, log in drawn)
    counted += sum(math.exp(n / temperature) for n in hard)
    return -math.log(math.exp(i / temperature) / (math.exp(i / temperature) + counted))


def by_loops(loss: Loss, s: Scores, settings: dict[str, float]) -> float:
    total = 0.0
    for p in range(len(s.positive_P)):
        at = [m for m in range(s.negative_PM.shape[1]) if s.allowed_PM[p, m]]
        hard = [
            float(s.hard_Ph[p, k]) for k in range(s.hard_Ph.shape[1]) if s.hard_allowed_Ph[p, k]
        ]
        negatives = [float(s.negative_PM[p, m]) for m in at]
        logs = [float(s.log_chance_M[m]) for m in at]
        value = of_pair(loss, float(s.positive_P[p]), negatives, hard, logs, **settings)
        total += value * float(s.weight_P[p])
    return total / len(s.positive_P)


def random_scores(num_pairs: int, shared: int, hard: int, share: float, seed: int) -> Scores:
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    return Scores(
        positive_P=draw(num_pairs),
        negative_PM=draw(num_pairs, shared),
        allowed_PM=torch.rand(num_pairs, shared, generator=rng) < share,
        hard_Ph=draw(num_pairs, hard),
        hard_allowed_Ph=torch.rand(num_pairs, hard, generator=rng) < share,
        weight_P=draw(num_pairs).abs(),
        log_chance_M=-draw(shared).abs(),
    )


@settings(max_examples=60, deadline=None)
@given(
    case=st.sampled_from(CASES),
    num_pairs=st.integers(1, 6),
    shared=st.integers(0, 6),
    hard=st.integers(0, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_it_equals_loops(
    case: tuple[Loss, dict[str, float]],
    num_pairs: int,
    shared: int,
    hard: int,
    share: float,
    seed: int,
) -> None:
    loss, given_settings = case
    scores = random_scores(num_pairs, shared, hard, share, seed)
    expected = by_loops(loss, scores, given_settings)
    assert loss(scores, **given_settings).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("loss", "settings"), CASES)
def test_the_gradient_is_that_of_the_formula(loss: Loss, settings: dict[str, float]) -> None:
    scores = random_scores(4, 5, 2, 0.7, seed=4)
    parts = [scores.positive_P, scores.negative_PM, scores.hard_Ph]

    def value(positive: Tensor, negative: Tensor, hard: Tensor) -> Tensor:
        changed = replace(scores, positive_P=positive, negative_PM=negative, hard_Ph=hard)
        return loss(changed, **settings)

    assert torch.autograd.gradcheck(value, [part.requires_grad_() for part in parts], atol=1e-7)


@pytest.mark.parametrize(("loss", "settings"), CASES)
def test_no_gradient_reaches_a_negative_that_nobody_may_use(
    loss: Loss, settings: dict[str, float]
) -> None:
    scores = random_scores(3, 4, 1, 1.0, seed=1)
    scores.allowed_PM[:, 2] = False
    negative = scores.negative_PM.requires_grad_()
    loss(scores, **settings).backward()
    assert negative.grad is not None
    assert negative.grad[:, 2].tolist() == [0.0, 0.0, 0.0]
    assert (negative.grad[:, [0, 1, 3]] >= 0).all()


def one_pair(allowed: list[bool]) -> Scores:
    """z_q · z_i = 0.6 against negatives of 0.5, 0.1 and 0.75."""
    nothing = torch.empty(1, 0)
    return Scores(
        positive_P=torch.tensor([0.6]),
        negative_PM=torch.tensor([[0.5, 0.1, 0.75]]),
        allowed_PM=torch.tensor([allowed]),
        hard_Ph=nothing,
        hard_allowed_Ph=nothing.bool(),
        weight_P=torch.ones(1),
        log_chance_M=torch.zeros(3),
    )


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        # margin 0.2: hinges 0.5 - 0.4, max(0, 0.1 - 0.4), 0.75 - 0.4
        ([True, True, True], (0.1 + 0.0 + 0.35) / 3),
        ([True, True, False], (0.1 + 0.0) / 2),
        ([False, False, True], 0.35),
        ([False, False, False], 0.0),
    ],
)
def test_masked_negatives_count_neither_above_nor_below_the_line(
    allowed: list[bool], expected: float
) -> None:
    assert max_margin_loss(one_pair(allowed), margin=0.2).item() == pytest.approx(expected)


def test_a_positive_above_all_negatives_by_the_margin_costs_nothing() -> None:
    scores = replace(one_pair([True] * 3), positive_P=torch.tensor([2.0]))
    assert max_margin_loss(scores, margin=1.25).item() == 0.0


def test_without_negatives_a_softmax_is_certain() -> None:
    assert softmax_loss(one_pair([False] * 3), temperature=0.1).item() == 0.0


def test_dividing_by_the_chance_estimates_the_sum_over_the_catalog() -> None:
    # Every subset of 2 of 4 items is as likely, each item's chance is 1/2: on average the sum over
    # the drawn, each divided by its chance, is that over all four.
    every = torch.tensor([0.3, -0.2, 0.9, 0.1]).double()
    sums = [(every[[a, b]] - math.log(0.5)).exp().sum() for a in range(4) for b in range(a + 1, 4)]
    assert torch.stack(sums).mean().item() == pytest.approx(every.exp().sum().item())


@given(st.integers(1, 12), st.integers(2, 5), st.integers(0, 99))
def test_crowding_is_the_mean_cosine_of_all_pairs(count: int, width: int, seed: int) -> None:
    z_MD = torch.randn(count, width, generator=torch.Generator().manual_seed(seed)).double()
    rows = [[float(value) for value in row] for row in z_MD]
    lengths = [math.hypot(*row) for row in rows]
    cosines = [
        sum(a * b for a, b in zip(left, right, strict=True)) / (lengths[i] * lengths[j])
        for i, left in enumerate(rows)
        for j, right in enumerate(rows)
    ]
    assert crowding(z_MD).item() == pytest.approx(sum(cosines) / count**2, abs=1e-9)
    assert torch.autograd.gradcheck(crowding, z_MD.requires_grad_())
