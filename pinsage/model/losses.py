"""Losses of pairs against their negatives (PinSage §3.3), over scores.

Every loss is a mean over pairs by weight, and differentiable in the scores. A negative that is not
allowed counts neither above nor below the line; a pair without one adds 0.

Shapes: P pairs, M negatives shared by all of them, h hard negatives of each query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Scores:
    """What a loss is made of.

    Attributes:
        positive_P: float, z_q · z_i
        negative_PM: float, z_q · z_n
        allowed_PM: bool, which of them count
        hard_Ph: float, z_q · z_h
        hard_allowed_Ph: bool, which of them count
        weight_P: float, of each pair, of mean 1 over all pairs
        log_chance_M: float, log P(n is drawn) of each shared negative; zeros take no account of it
    """

    positive_P: Tensor
    negative_PM: Tensor
    allowed_PM: Tensor
    hard_Ph: Tensor
    hard_allowed_Ph: Tensor
    weight_P: Tensor
    log_chance_M: Tensor


def max_margin_loss(scores: Scores, *, margin: float) -> Tensor:
    """E_n max{0, z_q · z_n - z_q · z_i + margin}, over shared and, added, over hard negatives."""
    bar_P1 = (margin - scores.positive_P).unsqueeze(1)
    return _expected(F.relu(scores.negative_PM + bar_P1), F.relu(scores.hard_Ph + bar_P1), scores)


def cross_entropy_loss(scores: Scores, *, temperature: float) -> Tensor:
    """-log σ(s_i) - E_n log(1 - σ(s_n)), s = z · z / temperature: each item is a yes or no."""
    no = F.softplus(scores.negative_PM / temperature), F.softplus(scores.hard_Ph / temperature)
    yes_P = F.softplus(-scores.positive_P / temperature)
    return (yes_P * scores.weight_P).mean() + _expected(*no, scores)


def softmax_loss(scores: Scores, *, temperature: float) -> Tensor:
    """-log e^{s_i} / (e^{s_i} + Σ_n e^{s_n} / P(n)), the sampled softmax.

    Dividing by the chance of n makes the sum over the drawn an unbiased estimate of that over the
    catalog (Bengio & Senécal 2008; Jean et al., ACL 2015, "log-Q"). Hard negatives are not a sample
    of anything, and count once.
    """
    shared_PM = scores.negative_PM / temperature - scores.log_chance_M
    positive_P = scores.positive_P / temperature
    logits = torch.cat(
        [
            positive_P.unsqueeze(1),
            shared_PM.masked_fill(~scores.allowed_PM, -torch.inf),
            (scores.hard_Ph / temperature).masked_fill(~scores.hard_allowed_Ph, -torch.inf),
        ],
        dim=1,
    )
    return ((logits.logsumexp(dim=1) - positive_P) * scores.weight_P).mean()


def crowding(z_MD: Tensor) -> Tensor:
    """Mean cosine of all pairs of M embeddings, each with itself included: ‖mean of z / ‖z‖‖²."""
    return F.normalize(z_MD, dim=1).mean(dim=0).square().sum()


def _expected(shared_PM: Tensor, hard_Ph: Tensor, scores: Scores) -> Tensor:
    """Mean over pairs of the mean over shared plus the mean over hard negatives."""
    mean_P = _mean_where(shared_PM, scores.allowed_PM)
    if hard_Ph.shape[1]:
        mean_P = mean_P + _mean_where(hard_Ph, scores.hard_allowed_Ph)
    return (mean_P * scores.weight_P).mean()


def _mean_where(values: Tensor, allowed: Tensor) -> Tensor:
    return (values * allowed).sum(dim=1) / allowed.sum(dim=1).clamp(min=1)
