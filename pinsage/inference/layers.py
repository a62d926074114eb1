"""A convolution as map and reduce (PinSage §3.4): pure functions of blocks, free of any engine.

Map projects every node once; reduce pools a node's neighbours and does the rest of Algorithm 1.
No node is computed twice in a layer, however many neighbourhoods it lies in.

Shapes: B nodes of a block, N all nodes, T neighbours, D and H widths.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.graph.walks import EMPTY
from pinsage.model.conv import PinSageConv
from pinsage.model.pinsage import PinSage


@torch.inference_mode()
def encode_block(model: PinSage, features: TensorFrame, rows_B: Tensor) -> Tensor:
    """Input of the first layer for a block of items, [B, D]."""
    encoded: Tensor = model.encoder(features, rows_B)
    return encoded


@torch.inference_mode()
def map_block(conv: PinSageConv, h_BD: Tensor) -> Tensor:
    """Project a block into the pooling space, [B, H]."""
    return conv.project(h_BD)


@torch.inference_mode()
def reduce_block(
    conv: PinSageConv, h_BD: Tensor, projected_NH: Tensor, neighbors_BT: Tensor, weights_BT: Tensor
) -> Tensor:
    """Pool a block's neighbours and combine them with the block's own nodes, [B, D]."""
    return conv.combine(h_BD, conv.pool(projected_NH, neighbors_BT, weights_BT))


@torch.inference_mode()
def head_block(model: PinSage, h_BD: Tensor) -> Tensor:
    """Final embeddings of a block, [B, output]."""
    return model.head(h_BD)


@torch.inference_mode()
def alone_block(model: PinSage, features: TensorFrame, rows_B: Tensor) -> Tensor:
    """Final embeddings of a block as if no item of it had a neighbour, [B, output].

    Exact: with an empty n_u Algorithm 1 looks at the item itself and at nothing else.
    """
    h_BD = encode_block(model, features, rows_B)
    nobody_B1, weightless_B1 = torch.full((len(rows_B), 1), EMPTY), torch.zeros(len(rows_B), 1)
    for conv in model.layers:
        h_BD = reduce_block(conv, h_BD, map_block(conv, h_BD), nobody_B1, weightless_B1)
    return head_block(model, h_BD)
