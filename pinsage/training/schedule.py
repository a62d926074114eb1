"""The learning rate as a pure function of the step (PinSage §3.3)."""

from __future__ import annotations

import math

from pinsage.config import TrainingConfig


def peak_rate(config: TrainingConfig) -> float:
    """The rate at the end of the warm-up, in proportion to the batch where that is asked for."""
    scale = config.batch_size / config.rate_batch if config.rate_batch else 1.0
    return config.learning_rate * scale


def learning_rate(step: int, *, peak: float, epoch_steps: int, decay: float) -> float:
    """Linear warm-up to `peak` over the first epoch, then a factor `decay` an epoch.

    `step` counts from 0 over all epochs of `epoch_steps` steps.
    """
    if step < epoch_steps:
        return peak * (step + 1) / epoch_steps
    return peak * math.pow(decay, step / epoch_steps - 1)
