"""FAISS, where it is installed, and the threads it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from pinsage.errors import MissingExtraError

Result = TypeVar("Result")


def load_faiss() -> Any:
    """The module `faiss`. Raises MissingExtraError."""
    try:
        import faiss
    except ImportError:
        raise MissingExtraError(
            "the nearest-neighbour index needs FAISS, which is not installed; "
            "pip install 'pinsage-pipeline[index]'"
        ) from None
    return faiss


@contextmanager
def with_threads(threads: int) -> Iterator[None]:
    """FAISS takes so many; OpenMP keeps it by calling thread: others have theirs."""
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def in_blocks(
    work: Callable[[slice], Result], num_rows: int, block: int, threads: int
) -> Iterator[Result]:
    """What `work` makes of each block of rows, in their order, on so many threads.

    FAISS itself takes one in each: the last bits of its products depend on how many it takes.
    """

    def alone(first: int) -> Result:
        with with_threads(1):
            return work(slice(first, first + block))

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(alone, range(0, num_rows, block))
