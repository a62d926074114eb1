"""A convolution as map and reduce (PinSage §3.4): pure functions of blocks, free of any engine.

Map projects every node once; reduce pools a node's neighbours and does the rest of Algorithm 1.
No node is computed twice in a layer, however many neighbourhoods it lies in.

Representations come in float32, or in the 16 bits that they are stored in. bfloat16 is multiplied
as it is, with sums in float32, which is several times as fast on processors that have it; float16
is computed on in float32. Encoder and head are float32 always.

Shapes: B nodes of a block, N all nodes, T neighbours, D and H widths.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_frame.data import TensorFrame

from pinsage.graph.walks import EMPTY
from pinsage.inference.buffers import Buffers
from pinsage.model.conv import PinSageConv
from pinsage.model.pinsage import PinSage


@torch.inference_mode()
def encode_block(model: PinSage, features: TensorFrame, rows_B: Tensor) -> Tensor:
    """Input of the first layer for a block of items, float32 [B, D]."""
    encoded: Tensor = model.encoder(features, rows_B)
    return encoded


@torch.inference_mode()
def map_block(conv: PinSageConv, h_BD: Tensor, buffers: Buffers | None = None) -> Tensor:
    """Project a block into the pooling space, [B, H], in the type that it is computed in.

    With `buffers`, the result is theirs, and valid until the next block is projected.
    """
    return _linear(conv.neighbour, _computable(h_BD), "projected", buffers).relu_()


@torch.inference_mode()
def reduce_block(
    conv: PinSageConv,
    h_BD: Tensor,
    projected_NH: Tensor,
    neighbors_BT: Tensor,
    weights_BT: Tensor,
    buffers: Buffers | None = None,
) -> Tensor:
    """Pool a block's neighbours and combine them with the block's own nodes, [B, D].

    `neighbors_BT` are rows of `projected_NH`, int32 or int64, negative where there is none. With
    `buffers`, the result is theirs, and valid until the next block is reduced.
    """
    h_BD = _computable(h_BD)
    pooled_BH = conv.pool(projected_NH, neighbors_BT, weights_BT).to(h_BD.dtype)
    buffers = buffers or Buffers()
    # One product over both halves, which with 16 bits must not be rounded one by one.
    width = h_BD.shape[1] + pooled_BH.shape[1]
    joint = torch.cat(
        [h_BD, pooled_BH], dim=1, out=buffers.beside(h_BD, "joint", (len(h_BD), width))
    )
    z_BO = _linear(conv.update_self, joint, "reduced", buffers).relu_()
    length_B1 = torch.linalg.vector_norm(z_BO, dim=1, keepdim=True, dtype=torch.float32)
    return torch.div(z_BO, length_B1.clamp_(min=1e-12), out=z_BO)


@torch.inference_mode()
def head_block(model: PinSage, h_BD: Tensor) -> Tensor:
    """Final embeddings of a block, float32 [B, output]."""
    return model.head(h_BD.float())


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


def computed_in(storage: torch.dtype) -> torch.dtype:
    """The type that representations stored in `storage` are computed in."""
    return torch.bfloat16 if storage == torch.bfloat16 else torch.float32


def _computable(h_BD: Tensor) -> Tensor:
    return h_BD.to(computed_in(h_BD.dtype))


def _linear(layer: nn.Linear, x_BD: Tensor, name: str, buffers: Buffers | None) -> Tensor:
    weight, bias = layer.weight.to(x_BD.dtype), layer.bias.to(x_BD.dtype)
    out = (buffers or Buffers()).beside(x_BD, name, (len(x_BD), len(weight)))
    return torch.addmm(bias, x_BD, weight.T, out=out)
