"""Threads of a search: as many as were asked for, and what others had set is left as it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside: list[Any] = []  # one entry a search that runs; the first holds the limit


@contextmanager
def without_teams() -> Iterator[None]:
    """BLAS and OpenMP compute in the calling thread alone, until the last search here is done.

    The setting belongs to the process: searches that overlap share it, so that none of them
    restores what another one had set.
    """
    with _lock:
        if not _inside:
            _inside.append(_pools("torch" in sys.modules).limit(limits=1))
        else:
            _inside.append(None)
    try:
        yield
    finally:
        with _lock:
            if len(_inside) == 1:
                _inside.pop().restore_original_limits()
            else:
                _inside.pop()


@lru_cache
def _pools(with_torch: bool) -> ThreadpoolController:
    del with_torch  # a library that is loaded later has pools of its own
    return ThreadpoolController()
