"""One training step: the table path against message passing.

    python benchmarks/training_step.py

The floor is the arithmetic of the linear layers, forward and backward (three times forward), at
the rate of a large matrix product measured in the same run.

Shapes: S nodes, B targets, T neighbours, D width.
"""

from __future__ import annotations

import torch
from _timing import median_seconds, print_table
from torch import Tensor

from pinsage.model.conv import PinSageConv

_WIDTH = 128
_TARGETS = 1_300
_NODES = 1_600


def main() -> None:
    """Forward and backward of two convolutions over a minibatch of the demo's shape."""
    rows = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        floor = _floor_seconds()
        for size in (10, 50):
            table, messages = _table_seconds(size), _message_seconds(size)
            rows.append(
                (threads, size, 1000 * table, 1000 * messages, messages / table, table / floor)
            )
    columns = ("threads", "T", "table ms", "messages ms", "messages / table", "table / floor")
    print_table(f"Two convolutions, {_TARGETS} targets, D = {_WIDTH}", columns, rows)


def _batch(size: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    h_SD = torch.randn(_NODES, _WIDTH, generator=generator)
    neighbors_BT = torch.randint(_NODES, (_TARGETS, size), generator=generator)
    weights_BT = torch.rand(_TARGETS, size, generator=generator)
    return h_SD, neighbors_BT, weights_BT / weights_BT.sum(1, keepdim=True)


def _convs() -> list[PinSageConv]:
    torch.manual_seed(1)
    return [PinSageConv(_WIDTH, _WIDTH, _WIDTH) for _ in range(2)]


def _table_seconds(size: int) -> float:
    h_SD, neighbors_BT, weights_BT = _batch(size)
    convs = _convs()

    def step() -> None:
        h = h_SD
        for conv in convs:
            out = conv.forward_table(h, h[:_TARGETS], neighbors_BT, weights_BT)
            h = torch.cat([out, h_SD[_TARGETS:]])
        h.sum().backward()

    return median_seconds(step)


def _message_seconds(size: int) -> float:
    h_SD, neighbors_BT, weights_BT = _batch(size)
    target = torch.arange(_TARGETS).repeat_interleave(size)
    edge_index = torch.stack([neighbors_BT.flatten(), target])
    convs = _convs()

    def step() -> None:
        h = h_SD
        for conv in convs:
            out = conv((h, h[:_TARGETS]), edge_index, weights_BT.flatten())
            h = torch.cat([out, h_SD[_TARGETS:]])
        h.sum().backward()

    return median_seconds(step)


def _floor_seconds() -> float:
    left = torch.randn(2048, 2048)
    seconds = median_seconds(lambda: left @ left)
    rate = 2 * 2048**3 / seconds
    forward = 2 * 2 * (_NODES * _WIDTH * _WIDTH + _TARGETS * 2 * _WIDTH * _WIDTH)
    return 3 * forward / rate


if __name__ == "__main__":
    main()
