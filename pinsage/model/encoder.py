"""From item features to the input of the first convolution (PinSage §3.1).

The paper's input is content and log degree alone. An optional vector an item can be added; it is
hidden at random in training and always for items that training never saw, whose embeddings then
rest on content and neighbours.

Shapes: S items of a batch, F feature columns, C channels a column, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_frame import NAStrategy, stype
from torch_frame.data import TensorFrame
from torch_frame.nn.encoder import (
    EmbeddingEncoder,
    LinearEmbeddingEncoder,
    LinearEncoder,
    MultiCategoricalEmbeddingEncoder,
    StypeWiseFeatureEncoder,
    TimestampEncoder,
)

from pinsage.model.dropout import hidden
from pinsage.model.features import FeatureSpec


class ItemEncoder(nn.Module):
    """Encode features to [S, D] with pytorch-frame's encoders and one linear layer.

    Args:
        spec: fitted columns
        channels: C
        width: D
        num_ids: rows of the id embedding; 0 for none
        id_dropout: share of items whose id vector is hidden in a training step
    """

    def __init__(
        self, spec: FeatureSpec, *, channels: int, width: int, num_ids: int, id_dropout: float
    ) -> None:
        super().__init__()
        self.columns = StypeWiseFeatureEncoder(
            out_channels=channels,
            col_stats=spec.col_stats,
            col_names_dict=spec.col_names_dict,
            stype_encoder_dict={
                stype.numerical: LinearEncoder(na_strategy=NAStrategy.MEAN),
                stype.categorical: EmbeddingEncoder(),
                stype.multicategorical: MultiCategoricalEmbeddingEncoder(mode="mean"),
                stype.embedding: LinearEmbeddingEncoder(),
                stype.timestamp: TimestampEncoder(),
            },
        )
        self.project = nn.Linear(len(spec.columns) * channels, width)
        self.ids = nn.Embedding(num_ids, width) if num_ids else None
        if self.ids is not None:
            nn.init.normal_(self.ids.weight, std=width**-0.5)
        self.register_buffer("known", torch.ones(num_ids, dtype=torch.bool))
        self.known: Tensor
        self.id_dropout = id_dropout

    def forward(
        self, features: TensorFrame, rows_S: Tensor, dropout_key: int | None = None
    ) -> Tensor:
        """Encode the items `rows_S` with their `features`; a key, one a step, switches dropout on.

        Returns float32 [S, D].
        """
        encoded_SFC, _ = self.columns(features)
        h_SD: Tensor = self.project(encoded_SFC.flatten(1))
        if self.ids is None:
            return h_SD
        is_known_S = rows_S < len(self.known)
        safe_S = rows_S.where(is_known_S, 0)
        keep_S = is_known_S & self.known[safe_S]
        if dropout_key is not None:
            keep_S = keep_S & ~hidden(rows_S, dropout_key, self.id_dropout)
        id_SD: Tensor = self.ids(safe_S)
        return h_SD + id_SD * keep_S.unsqueeze(1)
