"""The PinSage convolution (Algorithm 1) with importance pooling (§3.1), or mean or max instead.

Two paths compute the same: PyG's message passing over `edge_index`, and a fused one over the
fixed table of neighbours. The table path is the one that training and inference run.

Shapes: S source nodes, B target nodes, T neighbours, D and H widths.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

Aggregator = Literal["importance", "mean", "max"]


class PinSageConv(MessagePassing):  # type: ignore[misc]
    r"""One convolution of PinSage.

    Algorithm 1 of `Graph Convolutional Neural Networks for Web-Scale Recommender Systems
    <https://arxiv.org/abs/1806.01973>`_:

    .. math::
        n_u = \sum_{v \in N(u)} \alpha_{uv} \, \mathrm{ReLU}(Q z_v + q), \qquad
        z_u' = \frac{\mathrm{ReLU}(W [z_u \| n_u] + w)}{\| \mathrm{ReLU}(W [z_u \| n_u] + w) \|_2}

    Args:
        in_channels: width of z
        hidden_channels: width of n, the space in which neighbours are pooled
        out_channels: width of z'
        aggregator: `importance` is the sum above; `mean` takes equal weights, `max` the largest
            value of each channel
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        aggregator: Aggregator = "importance",
    ) -> None:
        super().__init__(aggr="sum" if aggregator == "importance" else aggregator)
        self.aggregator: Aggregator = aggregator
        self.neighbour = nn.Linear(in_channels, hidden_channels)  # Q, q
        self.update_self = nn.Linear(in_channels + hidden_channels, out_channels)  # W, w

    def forward(
        self, x: Tensor | tuple[Tensor, Tensor], edge_index: Tensor, edge_weight: Tensor
    ) -> Tensor:
        """Message passing along `edge_index` [2, E] from source to target, `edge_weight` [E].

        `x` is [S, D], or (sources [S, D], targets [B, D]). Returns [B, out_channels].
        """
        source, target = x if isinstance(x, tuple) else (x, x)
        pooled = self.propagate(
            edge_index,
            x=self.project(source),
            edge_weight=edge_weight,
            size=(source.size(0), target.size(0)),
        )
        return self.combine(target, pooled)

    def message(self, x_j: Tensor, edge_weight: Tensor) -> Tensor:
        """Weigh a neighbour, where neighbours have weights."""
        return edge_weight.unsqueeze(-1) * x_j if self.aggregator == "importance" else x_j

    def forward_table(
        self, source_SD: Tensor, target_BD: Tensor, neighbors_BT: Tensor, weights_BT: Tensor
    ) -> Tensor:
        """The same over rows of the table: positions among the sources, -1 where there is none."""
        return self.combine(target_BD, self.pool(self.project(source_SD), neighbors_BT, weights_BT))

    def pool(self, projected_SH: Tensor, neighbors_BT: Tensor, weights_BT: Tensor) -> Tensor:
        """Pool each target's neighbours, zeros where it has none. Returns [B, H]."""
        return pool(projected_SH, neighbors_BT, weights_BT, self.aggregator)

    def project(self, z_SD: Tensor) -> Tensor:
        """Map: each node into the pooling space, once (line 1). Returns [S, H]."""
        return F.relu(self.neighbour(z_SD))

    def combine(self, z_BD: Tensor, pooled_BH: Tensor) -> Tensor:
        """Reduce's second half: the node with its pooled neighbours (lines 2, 3)."""
        return F.normalize(F.relu(self.update_self(torch.cat([z_BD, pooled_BH], dim=1))), dim=1)


def pool(
    projected_SH: Tensor,
    neighbors_BT: Tensor,
    weights_BT: Tensor,
    aggregator: Aggregator = "importance",
) -> Tensor:
    """Weighted sum, mean or maximum of each target's neighbours. Returns [B, H].

    One `embedding_bag` reads each neighbour once and never builds a [B, T, H] tensor.
    """
    if aggregator == "max":
        return _largest(projected_SH, neighbors_BT)
    if aggregator == "mean":
        is_there_BT = (neighbors_BT >= 0).to(projected_SH.dtype)
        weights_BT = is_there_BT / is_there_BT.sum(dim=1, keepdim=True).clamp(min=1)
    return F.embedding_bag(
        neighbors_BT.clamp(min=0),  # padding has weight 0, so any valid row will do
        projected_SH,
        mode="sum",
        per_sample_weights=weights_BT,
    )


def _largest(projected_SH: Tensor, neighbors_BT: Tensor) -> Tensor:
    # In place of padding stands one of the neighbours that are there: the maximum is the same.
    one_B1 = neighbors_BT.max(dim=1, keepdim=True).values
    rows_BT = torch.where(neighbors_BT >= 0, neighbors_BT, one_B1).clamp(min=0)
    return F.embedding_bag(rows_BT, projected_SH, mode="max") * (one_B1 >= 0)
