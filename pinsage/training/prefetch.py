"""Minibatches made by a thread while the step before computes (PinSage §3.3).

The kernels that sample, and torch's, release the interpreter's lock. One thread makes all batches
in their order, so the bits are those of making each when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import nullcontext, suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

_POLL = 0.05  # seconds


class Movable(Protocol):
    """What can be copied to a device."""

    def to(self, device: torch.device) -> Self:
        """The same on another device."""
        ...

    def visit(self, see: Callable[[Tensor], object]) -> None:
        """Call `see` with each of its tensors."""
        ...


M = TypeVar("M", bound=Movable)
_Ready = tuple[M, torch.cuda.Event | None]


def prefetched(source: Iterable[M], device: torch.device, depth: int) -> Generator[M, None, None]:
    """Items of `source` on a device, at most `depth` waiting; to be closed, which ends the thread.

    An exception of the source is raised here, after the items before it.
    """
    queue: Queue[_Ready[M] | BaseException] = Queue(depth)
    stop = Event()
    arguments = (source, device, queue, stop)
    thread = Thread(target=_produce, args=arguments, name="minibatches", daemon=True)
    thread.start()
    try:
        while not isinstance(ready := queue.get(), BaseException):
            yield _received(*ready)
        if not isinstance(ready, StopIteration):
            raise ready
    finally:
        stop.set()
        while thread.is_alive():
            with suppress(Empty):  # room for the item that the thread may be waiting to hand over
                queue.get_nowait()
            thread.join(_POLL)


def _produce(
    source: Iterable[M],
    device: torch.device,
    queue: Queue[_Ready[M] | BaseException],
    stop: Event,
) -> None:
    try:
        # A stream of its own: on the step's, copies and look-ups would wait for the step.
        stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        with torch.cuda.stream(stream) if stream else nullcontext():
            for item in source:
                moved = item.to(device)
                queue.put((moved, stream.record_event() if stream else None))
                if stop.is_set():
                    return
        queue.put(StopIteration())
    except BaseException as error:  # noqa: BLE001 - it is raised in the consumer
        queue.put(error)


def _received(item: M, copied: torch.cuda.Event | None) -> M:
    if copied is not None:
        stream = torch.cuda.current_stream()
        stream.wait_event(copied)
        # Else the allocator could hand the memory to the next copy while the step still reads it.
        item.visit(lambda tensor: tensor.record_stream(stream))
    return item
