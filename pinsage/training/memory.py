"""The memory of training: what its steps free is kept for the next, what is of no use is not.

A step frees as much as the next one asks for. glibc gives blocks above 32 MB back to the system at
once, which hands them out anew page by page, each set to zero: a third of a step over a hundred
thousand items (benchmarks/results).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3): parameters, and what they are kept at
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_KEPT = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}  # no block apart, and no end cut off
# what glibc comes to by itself in a process that has freed large blocks
_USUAL = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: 64 << 20}


@contextmanager
def kept_memory() -> Iterator[None]:
    """While it lasts, freed memory stays with the process; it all goes back at the end.

    Does nothing without glibc, or where the environment tunes its allocator (`GLIBC_TUNABLES`,
    `MALLOC_*`). It holds for the main thread, in which training runs.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    _set(libc, _KEPT)
    try:
        yield
    finally:
        _set(libc, _USUAL)
        libc.malloc_trim(0)


def keep_few_products() -> None:
    """Bound what oneDNN, which multiplies bfloat16 on a CPU, keeps of products it has prepared.

    By itself it keeps 1,024 of them, by shape. No two minibatches have the same shapes, so they are
    of no use, and lie between the tensors of later steps: the heap grows by gigabytes. It asks for
    the bound once, with the first product of the process; who runs training may have set another.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")  # inference needs fewer


def _glibc() -> ctypes.CDLL | None:
    is_tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "") or any(
        name.startswith("MALLOC_") for name in os.environ
    )
    if sys.platform != "linux" or is_tuned:
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


def _set(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
