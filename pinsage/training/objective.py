"""From the embeddings of a minibatch to its loss: the score that retrieval ranks by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pinsage.config import TrainingConfig
from pinsage.model.full_softmax import full_softmax_loss
from pinsage.model.losses import (
    Scores,
    cross_entropy_loss,
    crowding,
    max_margin_loss,
    softmax_loss,
)
from pinsage.training.loader import MiniBatch
from pinsage.training.queries import QueryBatch

Query = Callable[[Tensor], Tensor]


def autocast(device: torch.device, precision: Literal["float32", "bfloat16"]) -> torch.autocast:
    """The context in which the model runs: matrix products in `precision`, weights as they are."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def loss_of(
    z: Tensor, batch: MiniBatch | QueryBatch, config: TrainingConfig, query: Query
) -> Tensor:
    """What a batch whose targets have the embeddings `z` adds to its step's loss; a scalar.

    That is the configured loss, by the batch's share of the step. `query` is `PinSage.query`: from
    embeddings to what they search with.
    """
    if isinstance(batch, QueryBatch):
        return _loss_of_queries(z, batch, config, query)
    if len(batch.query_P) == 0:
        return query(z).sum() * 0.0  # gradients of zeros, which the others' are added to
    return _mean_loss(z, batch, config, query) * batch.share


def _loss_of_queries(z: Tensor, batch: QueryBatch, config: TrainingConfig, query: Query) -> Tensor:
    query_QD = query(F.embedding(batch.query_Q, z)) / config.temperature
    loss = full_softmax_loss(
        query_QD, z, batch.query_Q, batch.indptr, batch.positive_P, batch.weight_P
    )
    if config.spread > 0:
        loss = loss + config.spread * crowding(z) * batch.share
    return loss


def _mean_loss(z: Tensor, batch: MiniBatch, config: TrainingConfig, query: Query) -> Tensor:
    loss = _pair_loss(z, batch, config, query)
    if config.spread > 0:
        loss = loss + config.spread * crowding(F.embedding(batch.negative_M, z))
    return loss


def _pair_loss(z: Tensor, batch: MiniBatch, config: TrainingConfig, query: Query) -> Tensor:
    scores = scores_of(z, batch, query, log_q=config.log_q)
    if config.loss == "max_margin":
        return max_margin_loss(scores, margin=config.margin)
    if config.loss == "cross_entropy":
        return cross_entropy_loss(scores, temperature=config.temperature)
    return softmax_loss(scores, temperature=config.temperature)


def scores_of(z: Tensor, batch: MiniBatch, query: Query, *, log_q: bool) -> Scores:
    """Inner products of each query with its positive and its negatives."""
    # Not z[rows]: with more than one thread its gradient is summed in an order left to chance.
    query_PD, positive_PD, negative_MD = (
        F.embedding(rows, z) for rows in (batch.query_P, batch.positive_P, batch.negative_M)
    )
    query_PD = query(query_PD)
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
