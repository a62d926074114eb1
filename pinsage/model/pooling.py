"""Pooling over the fixed table of neighbours: weighted sum, mean or maximum (PinSage §3.1).

Shapes: S source nodes, B target nodes, T neighbours, H width, E entries of a table that are there.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Aggregator = Literal["importance", "mean", "max"]


def pool(
    projected_SH: Tensor,
    neighbors_BT: Tensor,
    weights_BT: Tensor,
    aggregator: Aggregator = "importance",
) -> Tensor:
    """Weighted sum, mean or maximum of each target's neighbours. Returns [B, H].

    One `embedding_bag` reads each neighbour once and never builds a [B, T, H] tensor. Weights have
    no gradient on the CPU: the table is fixed.
    """
    if aggregator == "max":
        return _largest(projected_SH, neighbors_BT)
    if aggregator == "mean":
        is_there_BT = (neighbors_BT >= 0).to(weights_BT.dtype)
        weights_BT = is_there_BT / is_there_BT.sum(dim=1, keepdim=True).clamp(min=1)
    if projected_SH.device.type == "cpu":
        apply: Any = _WeightedSum.apply
        return cast("Tensor", apply(projected_SH, neighbors_BT, weights_BT))
    return _weighted_sum(projected_SH, neighbors_BT, weights_BT)


def _weighted_sum(projected_SH: Tensor, neighbors_BT: Tensor, weights_BT: Tensor) -> Tensor:
    return F.embedding_bag(
        neighbors_BT.clamp(min=0),  # padding has weight 0, so any valid row will do
        projected_SH,
        mode="sum",
        per_sample_weights=weights_BT.to(projected_SH.dtype),
    )


class _WeightedSum(torch.autograd.Function):
    """`_weighted_sum` whose gradient is one as well, over the transposed table.

    torch's own on the CPU sorts the entries by source, and adds row to row in the precision of the
    rows: many times slower, and with bfloat16 a node of many targets would lose most of its sum.
    """

    @staticmethod
    def forward(ctx: Any, projected_SH: Tensor, neighbors_BT: Tensor, weights_BT: Tensor) -> Tensor:
        ctx.save_for_backward(neighbors_BT, weights_BT)
        ctx.num_sources = len(projected_SH)
        return _weighted_sum(projected_SH, neighbors_BT, weights_BT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pooled_BH: Tensor) -> tuple[Tensor, None, None]:
        neighbors_BT, weights_BT = ctx.saved_tensors
        table = neighbors_BT.numpy(), weights_BT.numpy()
        start_S, target_E, weight_E = (
            torch.from_numpy(part) for part in _transposed(*table, ctx.num_sources)
        )
        gradient_SH = F.embedding_bag(
            target_E,
            pooled_BH.contiguous(),
            start_S,
            mode="sum",
            per_sample_weights=weight_E.to(pooled_BH.dtype),
            include_last_offset=True,
        )
        return gradient_SH, None, None


@numba.njit(cache=True, nogil=True)
def _transposed(neighbors: Any, weights: Any, num_sources: Any) -> Any:
    """The table by source: start [S + 1], and target and weight [E], targets ascending."""
    start = np.zeros(num_sources + 1, dtype=np.int64)
    for row in neighbors:
        for source in row:
            if source >= 0:
                start[source + 1] += 1
    start = np.cumsum(start)
    following = start[:-1].copy()
    target = np.empty(start[-1], dtype=np.int64)
    weight = np.empty(start[-1], dtype=weights.dtype)
    for row in range(len(neighbors)):
        for slot, source in enumerate(neighbors[row]):
            if source >= 0:
                place = following[source]
                following[source] += 1
                target[place] = row
                weight[place] = weights[row, slot]
    return start, target, weight


def _largest(projected_SH: Tensor, neighbors_BT: Tensor) -> Tensor:
    # In place of padding stands one of the neighbours that are there: the maximum is the same.
    one_B1 = neighbors_BT.max(dim=1, keepdim=True).values
    rows_BT = torch.where(neighbors_BT >= 0, neighbors_BT, one_B1).clamp(min=0)
    return F.embedding_bag(rows_BT, projected_SH, mode="max") * (one_B1 >= 0)
