"""From the embeddings of a minibatch to its loss: the score that retrieval ranks by."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pinsage.config import TrainingConfig
from pinsage.model.losses import Scores, cross_entropy_loss, max_margin_loss, softmax_loss
from pinsage.model.pinsage import PinSage
from pinsage.training.loader import MiniBatch


def autocast(device: torch.device, precision: Literal["float32", "bfloat16"]) -> torch.autocast:
    """The context in which the model runs: matrix products in `precision`, weights as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def loss_of(model: PinSage, z: Tensor, batch: MiniBatch, config: TrainingConfig) -> Tensor:
    """What a batch whose targets have the embeddings `z` adds to its step's loss; a scalar.

    That is the configured loss, by the batch's share of the step.
    """
    if len(batch.query_P) == 0:
        return model.query(z).sum() * 0.0  # gradients of zeros, which the others' are added to
    return _mean_loss(model, z, batch, config) * batch.share


def _mean_loss(model: PinSage, z: Tensor, batch: MiniBatch, config: TrainingConfig) -> Tensor:
    scores = scores_of(model, z, batch, log_q=config.log_q)
    if config.loss == "max_margin":
        return max_margin_loss(scores, margin=config.margin)
    if config.loss == "cross_entropy":
        return cross_entropy_loss(scores, temperature=config.temperature)
    return softmax_loss(scores, temperature=config.temperature)


def scores_of(model: PinSage, z: Tensor, batch: MiniBatch, *, log_q: bool) -> Scores:
    """Inner products of each query with its positive and its negatives."""
    # Not z[rows]: with more than one thread its gradient is summed in an order left to chance.
    query_PD, positive_PD, negative_MD = (
        F.embedding(rows, z) for rows in (batch.query_P, batch.positive_P, batch.negative_M)
    )
    query_PD = model.query(query_PD)
    hard_PhD = F.embedding(batch.hard_Ph.clamp(min=0), z)
    return Scores(
        positive_P=(query_PD * positive_PD).sum(dim=1),
        negative_PM=query_PD @ negative_MD.T,
        allowed_PM=batch.allowed_PM,
        hard_Ph=(query_PD.unsqueeze(1) * hard_PhD).sum(dim=2),
        hard_allowed_Ph=batch.hard_Ph >= 0,
        weight_P=batch.weight_P,
        log_chance_M=batch.log_chance_M if log_q else batch.log_chance_M * 0,
    )
