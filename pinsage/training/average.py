"""A moving average of the weights: what training ends with, less the noise of its last steps.

It begins as the weights after the first step. After each later one, with n steps before it,
mean ← λ mean + (1 − λ) weights, λ = min(decay, (1 + n) / (10 + n)), so that the first are soon
forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from pinsage.model.pinsage import PinSage


def average_of(model: PinSage, decay: float) -> AveragedModel | None:
    """The average to update after each step; None for a decay of 0. A copy of all weights."""
    if decay == 0.0:
        return None

    @torch.no_grad()
    def follow(mean: Sequence[Tensor], weights: Sequence[Tensor], steps: Tensor | int) -> None:
        before = int(steps)
        kept = min(decay, (1 + before) / (10 + before))
        torch._foreach_lerp_(list(mean), list(weights), 1.0 - kept)

    return AveragedModel(model, multi_avg_fn=follow)
