"""The softmax over all candidates, of queries with all of their positives at once.

What the sampled softmax estimates pair by pair is exact here and costs less: the sum over the
candidates is the same for all pairs of a query, and a query of a small catalog has hundreds.

Shapes: Q queries, C candidates, P pairs of the queries, D width.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_MAX_SCORES = 1 << 24  # 64 MiB of float32 a block, however many candidates


def full_softmax_loss(
    query_QD: Tensor,
    candidate_CD: Tensor,
    own_Q: Tensor,
    indptr: Tensor,
    positive_P: Tensor,
    weight_P: Tensor,
) -> Tensor:
    """Σ_p w_p · −log(e^{s(q, i)} / Σ_{n ≠ q} e^{s(q, n)}), s the inner product; a scalar.

    `own_Q` int64 is where a query is itself among the candidates, -1 where it is not; the pairs
    indptr[q] to indptr[q + 1] (int64 [Q + 1], on the host) are the query's: `positive_P` int64,
    distinct within a query and never the query itself, `weight_P` float32. Temperature belongs
    into the queries. Memory: a block of scores, and the two gradients, which are made with the
    loss, so that no score is kept or made twice.
    """
    return cast(
        "Tensor",
        _FullSoftmax.apply(query_QD, candidate_CD, own_Q, indptr, positive_P, weight_P),  # type: ignore[no-untyped-call]
    )


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query_QD: Tensor,
        candidate_CD: Tensor,
        own_Q: Tensor,
        indptr: Tensor,
        positive_P: Tensor,
        weight_P: Tensor,
    ) -> Tensor:
        by_query_QD = torch.zeros_like(query_QD)
        by_candidate_CD = torch.zeros_like(candidate_CD)
        loss = query_QD.new_zeros(())
        size = max(1, _MAX_SCORES // max(len(candidate_CD), 1))
        for first in range(0, len(query_QD), size):
            rows = slice(first, first + size)
            ends = indptr[first : first + size + 1]
            pairs = slice(int(ends[0]), int(ends[-1]))
            block = _gradient(
                query_QD[rows] @ candidate_CD.T, own_Q[rows], ends,
                positive_P[pairs], weight_P[pairs],
            )  # fmt: skip
            loss += block[0]
            by_query_QD[rows] = block[1] @ candidate_CD
            by_candidate_CD.addmm_(block[1].T, query_QD[rows])
        ctx.save_for_backward(by_query_QD, by_candidate_CD)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_query_QD, by_candidate_CD = ctx.saved_tensors
        return gradient * by_query_QD, gradient * by_candidate_CD, None, None, None, None


def _gradient(
    scores_BC: Tensor, own_B: Tensor, ends: Tensor, positive_P: Tensor, weight_P: Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of a block of queries, and its gradient by the scores, which are overwritten."""
    of_query_P = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff())
    of_query_P = of_query_P.to(scores_BC.device)
    here = torch.nonzero(own_B >= 0).squeeze(1)
    scores_BC[here, own_B[here]] = -torch.inf
    weight_B = torch.zeros_like(scores_BC[:, 0]).index_add_(0, of_query_P, weight_P)
    gained = torch.dot(scores_BC[of_query_P, positive_P], weight_P)
    highest_B1 = scores_BC.amax(dim=1, keepdim=True)
    total_B1 = scores_BC.sub_(highest_B1).exp_().sum(dim=1, keepdim=True)
    log_total_B = (highest_B1 + total_B1.log()).squeeze(1)
    loss = torch.dot(log_total_B, weight_B) - gained
    scores_BC *= weight_B.unsqueeze(1) / total_B1
    scores_BC[of_query_P, positive_P] -= weight_P  # each place once: no order to depend on
    return loss, scores_BC
