"""Blocks of items computed by threads, each with one thread of arithmetic.

A block is computed by one thread from beginning to end, so that no result depends on how many there
are; while one waits for a block to be read or written, the others compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

import torch

from pinsage.inference.buffers import Buffers

TILE = 2048  # rows: what is computed of them stays in a core's cache

T = TypeVar("T")


def cut(rows: slice, size: int) -> Iterator[slice]:
    """Stretches of at most `size` rows."""
    for start in range(rows.start, rows.stop, size):
        yield slice(start, min(rows.stop, start + size))


def each(
    blocks: Iterable[T], work: Callable[[T, Buffers], object], threads: int, device: torch.device
) -> None:
    """Call `work` with each block, by `threads` threads with buffers of their own.

    Blocks are drawn in their order, one at a time: what yields them may read a file. The first
    exception ends it all and is raised.
    """
    coming, turn, failed = iter(blocks), Lock(), False

    def draw() -> tuple[T] | None:
        with turn:
            if failed:
                return None
            for block in coming:
                return (block,)
            return None

    def loop() -> None:
        nonlocal failed
        buffers = Buffers(device)
        try:
            with buffers.stream:
                while (drawn := draw()) is not None:
                    work(drawn[0], buffers)
        except BaseException:
            failed = True
            raise

    with _one_thread_each(), ThreadPoolExecutor(threads, "blocks") as pool:
        try:
            for done in [pool.submit(loop) for _ in range(threads)]:
                done.result()
        finally:
            failed = True  # an interrupt: nobody draws another block


@contextmanager
def _one_thread_each() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # of this process: threads that begin later take it over
    try:
        yield
    finally:
        torch.set_num_threads(before)
