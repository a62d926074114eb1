"""The learning rate as a pure function of the step (PinSage §3.3)."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, epoch_steps: int, decay: float) -> float:
    """Linear warm-up to `peak` over the first epoch, then a factor `decay` an epoch.

    `step` counts from 0 over all epochs of `epoch_steps` steps.
    """
    if step < epoch_steps:
        return peak * (step + 1) / epoch_steps
    return peak * math.pow(decay, step / epoch_steps - 1)
