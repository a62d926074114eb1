"""Minibatches made ahead by a thread: the same ones, its errors, and its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from pinsage.training.loader import MiniBatch, PairLoader
from pinsage.training.prefetch import prefetched
from tests.training.same_batches import assert_same_batches

CPU = torch.device("cpu")
MakeLoader = Callable[..., PairLoader]


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "minibatches"]


def read(loader: PairLoader, epoch: int, step: int) -> list[MiniBatch]:
    loader.begin(epoch, step=step)
    with loader.batches(CPU) as batches:
        return list(batches)


@pytest.mark.parametrize("step", [0, 3, 6])
@pytest.mark.parametrize("changes", [{}, {"hold_out_edges": True}, {"workers": 1}])
def test_made_ahead_they_are_the_same(
    make_loader: MakeLoader, step: int, changes: dict[str, Any]
) -> None:
    expected = read(make_loader(**changes), 1, step)
    assert len(expected) == 6 - step
    for depth in (1, 2, 9):
        assert_same_batches(read(make_loader(prefetch=depth, **changes), 1, step), expected)
    assert makers() == []


class Number:
    """Stands for a minibatch."""

    def __init__(self, value: int) -> None:
        self.value = value

    def to(self, device: torch.device) -> Number:
        return self

    def visit(self, see: Callable[[torch.Tensor], object]) -> None:
        """Has no tensors."""


def numbers(until: int, error: BaseException | None = None) -> Iterator[Number]:
    yield from map(Number, range(until))
    if error:
        raise error


@pytest.mark.parametrize("error", [ValueError("broken"), KeyboardInterrupt()])
def test_an_error_comes_after_the_items_before_it(error: BaseException) -> None:
    seen = list[int]()
    with pytest.raises(type(error)) as caught:
        seen.extend(item.value for item in prefetched(numbers(3, error), CPU, 2))
    assert caught.value is error
    assert seen == [0, 1, 2]
    assert makers() == []


def test_no_more_than_the_depth_waits_ahead() -> None:
    made = list[int]()

    def counted() -> Iterator[Number]:
        for item in numbers(50):
            made.append(item.value)
            yield item

    batches = prefetched(counted(), CPU, 2)
    for at, item in zip(range(20), batches, strict=False):
        assert item.value == at
        assert len(made) <= at + 1 + 2 + 1  # this one, two that wait, one in the thread's hands
    batches.close()
    assert makers() == []
    assert len(made) < 50


def test_an_exception_in_the_step_ends_the_thread(make_loader: MakeLoader) -> None:
    loader = make_loader(prefetch=1, batch_size=2)
    with pytest.raises(RuntimeError, match="in the step"), loader.batches(CPU) as batches:  # noqa: PT012
        next(batches)
        assert len(makers()) == 1
        raise RuntimeError("in the step")
    assert makers() == []


def test_a_loader_left_early_begins_again(make_loader: MakeLoader) -> None:
    loader = make_loader(prefetch=2)
    with loader.batches(CPU) as batches:
        next(batches)
    assert_same_batches(read(loader, 2, 0), read(make_loader(), 2, 0))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
@pytest.mark.parametrize("depth", [0, 2])
def test_on_a_gpu_they_are_the_same(make_loader: MakeLoader, depth: int) -> None:
    loader = make_loader(prefetch=depth)
    loader.begin(1)
    with loader.batches(torch.device("cuda")) as batches:
        there = [batch.to(CPU) for batch in batches]
    assert_same_batches(there, read(make_loader(), 1, 0))
