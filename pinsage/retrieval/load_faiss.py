"""FAISS, where it is installed, and the threads it takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pinsage.errors import MissingExtraError


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
