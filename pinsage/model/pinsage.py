"""The PinSage model (Algorithm 2): encoder, K convolutions, head G1, G2.

Shapes: S nodes of a minibatch, in the order targets of layer K, of layer K - 1, …, sources of
layer 1, so that the targets of every layer come first; T neighbours, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_frame.data import TensorFrame

from pinsage.config import ModelConfig
from pinsage.model.conv import PinSageConv
from pinsage.model.encoder import ItemEncoder
from pinsage.model.features import FeatureSpec
from pinsage.model.query import QueryMap


@dataclass(frozen=True)
class Nodes:
    """The nodes that a minibatch computes on.

    Attributes:
        rows_S: int64 [S], item rows
        features: their features, S rows
        neighbors_BT: int64 [B, T], positions in `rows_S` of the neighbours of its first B nodes
            (all but the outermost), -1 where there is none
        weights_BT: float32 [B, T]
        num_targets: nodes that layer 1, …, K compute; they are the first ones of `rows_S`
    """

    rows_S: Tensor
    features: TensorFrame
    neighbors_BT: Tensor
    weights_BT: Tensor
    num_targets: tuple[int, ...]

    def to(self, device: torch.device) -> Nodes:
        """The same on another device."""
        return replace(
            self,
            rows_S=self.rows_S.to(device),
            features=self.features.to(device),
            neighbors_BT=self.neighbors_BT.to(device),
            weights_BT=self.weights_BT.to(device),
        )


class PinSage(nn.Module):
    """Embeddings of items from their features and neighbourhoods.

    Args:
        config: sizes
        spec: fitted feature columns
        num_items: rows of the optional id embedding
    """

    def __init__(self, config: ModelConfig, spec: FeatureSpec, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.num_items = num_items
        self.encoder = ItemEncoder(
            spec,
            channels=config.feature_channels,
            width=config.hidden,
            num_ids=num_items if config.id_embedding else 0,
            id_dropout=config.id_dropout,
        )
        width = config.hidden
        self.convs = nn.ModuleList(
            PinSageConv(width, width, width, config.aggregator) for _ in range(config.layers)
        )
        self.head_hidden = nn.Linear(width, width)  # G1, g
        self.head_output = nn.Linear(width, config.output, bias=False)  # G2
        self.query_map: nn.Linear | None = None
        if config.query_map:
            self.query_map = nn.Linear(config.output, config.output, bias=False)  # M
            nn.init.eye_(self.query_map.weight)  # begins as the paper's score

    @property
    def layers(self) -> list[PinSageConv]:
        """The K convolutions, the first to run first."""
        return cast("list[PinSageConv]", list(self.convs))

    def forward(self, nodes: Nodes, dropout_key: int | None = None) -> Tensor:
        """Embed the targets of the last layer; a key, one a step, switches dropout on.

        Returns float32 [num_targets[-1], output].
        """
        h_SD = self.encoder(nodes.features, nodes.rows_S, dropout_key)
        for conv, count in zip(self.layers, nodes.num_targets, strict=True):
            h_SD = conv.forward_table(
                h_SD, h_SD[:count], nodes.neighbors_BT[:count], nodes.weights_BT[:count]
            )
        return self.head(h_SD)

    def head(self, h_BD: Tensor) -> Tensor:
        """G2 · ReLU(G1 h + g), of unit length where `config.normalize` asks for it; float32."""
        z_BD: Tensor = self.head_output(F.relu(self.head_hidden(h_BD))).float()
        return F.normalize(z_BD, dim=1) if self.config.normalize else z_BD

    def query(self, z_BD: Tensor) -> Tensor:
        """What embeddings search with: themselves, or M z of their length rule."""
        if self.query_map is None:
            return z_BD
        y_BD: Tensor = self.query_map(z_BD)
        return F.normalize(y_BD, dim=1) if self.config.normalize else y_BD

    def as_query_map(self) -> QueryMap:
        """`query` as a function of NumPy arrays."""
        if self.query_map is None:
            return QueryMap()
        matrix = self.query_map.weight.detach().cpu().numpy().copy()
        return QueryMap(matrix, self.config.normalize)
