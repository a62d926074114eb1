"""Memory that a thread's blocks use one after the other, and the way to a GPU and back.

A fresh allocation a block is a page fault every 4 KiB of it, which takes longer than the pass over
memory that fills it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from math import prod

import torch
from torch import Tensor

_CPU = torch.device("cpu")


class Buffers:
    """Named tensors of one thread, each valid until the same name is taken again.

    On a GPU, host memory is pinned, so that it is copied while other blocks are computed on, and
    the thread has a stream of its own.
    """

    def __init__(self, device: torch.device = _CPU) -> None:
        self._device = device
        self._is_gpu = device.type == "cuda"
        self._held: dict[tuple[str, torch.dtype], Tensor] = {}
        self._stream = torch.cuda.Stream(device) if self._is_gpu else None

    @property
    def stream(self) -> AbstractContextManager[object]:
        """To be entered by the thread that computes with these buffers."""
        return torch.cuda.stream(self._stream) if self._is_gpu else nullcontext()

    def host(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Uninitialised memory of the host."""
        count = prod(shape)
        held = self._held.get((name, dtype))
        if held is None or held.numel() < count:
            held = torch.empty(count, dtype=dtype, pin_memory=self._is_gpu)
            self._held[name, dtype] = held
        return held[:count].view(shape)

    def beside(self, like: Tensor, name: str, shape: tuple[int, ...]) -> Tensor:
        """Uninitialised memory where `like` is, and of its type."""
        if like.device.type == "cpu":
            return self.host(name, shape, like.dtype)
        return torch.empty(shape, dtype=like.dtype, device=like.device)  # torch reuses it itself

    def to_device(self, values: Tensor) -> Tensor:
        """Values of `host` on the device; on the CPU they are there."""
        return values.to(self._device, non_blocking=True)

    def to_host(self, name: str, values: Tensor) -> Tensor:
        """Computed values in memory of the host; on the CPU they are there."""
        if values.device.type == "cpu":
            return values
        there = self.host(name, tuple(values.shape), values.dtype)
        there.copy_(values, non_blocking=True)
        if self._stream is not None:
            self._stream.synchronize()  # what was copied before may be overwritten now, too
        return there
