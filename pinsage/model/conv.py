"""The PinSage convolution (Algorithm 1) with importance pooling (§3.1), or mean or max instead.

Two paths compute the same: PyG's message passing over `edge_index`, and a fused one over the
fixed table of neighbours. The table path is the one that training and inference run.

Shapes: S source nodes, B target nodes, T neighbours, D and H widths.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch_geometric.nn import MessagePassing

from pinsage.model.pooling import Aggregator, pool


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
        unit: Any = _Unit.apply
        z_BO = F.relu(self.update_self(torch.cat([z_BD, pooled_BH], dim=1)))
        return cast("Tensor", unit(z_BO))


class _Unit(torch.autograd.Function):
    """`F.normalize` of rows, whose gradient passes over memory three times instead of eight."""

    @staticmethod
    def forward(ctx: Any, z_BD: Tensor) -> Tensor:
        length_B1: Tensor = torch.linalg.vector_norm(z_BD, dim=1, keepdim=True).clamp(min=1e-12)
        unit_BD = z_BD / length_B1
        ctx.save_for_backward(unit_BD, length_B1)
        return unit_BD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BD: Tensor) -> Tensor:
        unit_BD, length_B1 = ctx.saved_tensors
        along_B1 = torch.linalg.vecdot(gradient_BD, unit_BD, dim=1).unsqueeze(1)
        across_BD = torch.addcmul(gradient_BD, unit_BD, along_B1, value=-1)
        return cast("Tensor", across_BD / length_B1)
