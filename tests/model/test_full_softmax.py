"""The softmax over all candidates, against a loop over pairs in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pinsage.model import full_softmax
from pinsage.model.full_softmax import full_softmax_loss
from pinsage.model.losses import Scores, softmax_loss

Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def case_of(seed: int, candidates: int, queries: int, known: bool = True) -> Case:
    """Some queries that are candidates too, each with up to all of the others as positives."""
    rng = np.random.default_rng(seed)
    own = rng.permutation(candidates)[:queries] if known else np.full(queries, -1)
    positives = [
        rng.permutation(np.setdiff1d(np.arange(candidates), [at]))[: rng.integers(0, candidates)]
        for at in own
    ]
    count = sum(map(len, positives))
    return (
        torch.from_numpy(rng.normal(size=(queries, 3))),
        torch.from_numpy(rng.normal(size=(candidates, 3))),
        torch.from_numpy(own),
        torch.tensor([0, *np.cumsum([len(each) for each in positives])]),
        torch.from_numpy(np.concatenate([np.empty(0, dtype=np.int64), *positives])),
        torch.from_numpy(rng.random(count) + 0.1),
    )


def reference(case: Case) -> float:
    queries, candidates, own, indptr, positives, weights = (part.numpy() for part in case)
    loss = 0.0
    for q in range(len(queries)):
        scores = [float(queries[q] @ each) for each in candidates]
        total = sum(math.exp(s) for n, s in enumerate(scores) if n != own[q])
        for p in range(indptr[q], indptr[q + 1]):
            loss -= weights[p] * math.log(math.exp(scores[positives[p]]) / total)
    return loss


@given(
    seed=st.integers(0, 2**31), candidates=st.integers(2, 12), share=st.floats(0, 1),
    known=st.booleans(), block=st.integers(1, 40),
)  # fmt: skip
def test_it_is_the_loop_over_pairs_for_any_size_of_block(
    seed: int, candidates: int, share: float, known: bool, block: int
) -> None:
    case = case_of(seed, candidates, round(share * candidates), known)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(full_softmax, "_MAX_SCORES", block)
        assert full_softmax_loss(*case).item() == pytest.approx(reference(case), rel=1e-9)


@pytest.mark.parametrize("block", [1, 24, 1 << 20])
def test_its_gradient_is_that_of_finite_differences(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(full_softmax, "_MAX_SCORES", block)
    queries, candidates, *rest = case_of(3, candidates=8, queries=5)
    queries.requires_grad_()
    candidates.requires_grad_()

    def loss(query: Tensor, candidate: Tensor) -> Tensor:
        return 3.0 * full_softmax_loss(query, candidate, *rest)

    assert torch.autograd.gradcheck(loss, (queries, candidates))


def test_it_is_the_sampled_softmax_that_draws_everything() -> None:
    queries, candidates, own, indptr, positives, weights = case_of(5, candidates=9, queries=6)
    of_query = torch.repeat_interleave(torch.arange(6), indptr.diff())
    scores = queries @ candidates.T
    at = torch.arange(9)
    sampled = softmax_loss(
        Scores(
            positive_P=scores[of_query, positives],
            negative_PM=scores[of_query],
            allowed_PM=(at != positives[:, None]) & (at != own[of_query][:, None]),
            hard_Ph=torch.empty(len(positives), 0),
            hard_allowed_Ph=torch.empty(len(positives), 0, dtype=torch.bool),
            weight_P=weights,
            log_chance_M=torch.zeros(9),
        ),
        temperature=1.0,
    )
    whole = full_softmax_loss(queries, candidates, own, indptr, positives, weights)
    assert whole.item() / len(positives) == pytest.approx(sampled.item())


def test_no_query_is_no_loss_and_a_gradient_of_zeros() -> None:
    queries, candidates, own, indptr, positives, weights = case_of(1, candidates=4, queries=0)
    candidates.requires_grad_()
    loss = full_softmax_loss(queries, candidates, own, indptr, positives, weights)
    loss.backward()
    assert loss.item() == 0.0
    assert candidates.grad is not None
    assert not candidates.grad.any()
