"""Where a block's neighbours are looked up: beside the block, or on a GPU, whole or row by row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pinsage.inference.buffers import Buffers

_SHARE = 0.8  # of a GPU's free memory that a layer may take; the rest is the blocks'

LookUp = Callable[[Tensor, Buffers], tuple[Tensor, Tensor]]
"""Rows [B, T] of a layer, in host memory, to (projections [M, H], positions [B, T]) on the
device; negative rows stay negative."""


def looked_up(projected_NH: Tensor, device: torch.device) -> LookUp:
    """How projections of a layer are looked up on a device.

    On a GPU that has room for all of them they move there once; else each block brings its own
    distinct rows, which is a gather on the host.
    """
    if device.type == "cpu":
        return lambda rows_BT, _: (projected_NH, rows_BT)
    if projected_NH.nbytes <= _SHARE * torch.cuda.mem_get_info(device)[0]:
        resident = projected_NH.to(device)
        torch.cuda.synchronize(device)  # threads look it up on streams of their own
        return lambda rows_BT, buffers: (resident, buffers.to_device(rows_BT))
    return lambda rows_BT, buffers: brought(projected_NH, rows_BT, buffers)


def brought(projected_NH: Tensor, rows_BT: Tensor, buffers: Buffers) -> tuple[Tensor, Tensor]:
    """The distinct rows of a block, and where in them each neighbour is."""
    distinct_M, positions = torch.unique(rows_BT.clamp(min=0), return_inverse=True)
    shape = (len(distinct_M), projected_NH.shape[1])
    there = buffers.host("brought", shape, projected_NH.dtype)
    torch.index_select(projected_NH, 0, distinct_M, out=there)
    positions_BT = positions.masked_fill_(rows_BT < 0, -1)
    return buffers.to_device(there), buffers.to_device(positions_BT)
