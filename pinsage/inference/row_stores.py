"""Matrices of N rows that are written and read by blocks: in memory, or as files.

A file's rows pass through buffers; what is looked up at random places is mapped. While a block is
computed, the kernel writes what came before and reads ahead.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor


class RowStore(Protocol):
    """A matrix [N, width]."""

    width: int
    dtype: torch.dtype

    def read(self, rows: slice, into: Tensor) -> Tensor:
        """The rows, [B, width]: copied to `into`, or where they are in memory anyway."""
        ...

    def write(self, rows: slice, values: Tensor) -> None:
        """Put rows; threads may write different ones at the same time."""
        ...

    def whole(self) -> Tensor:
        """All rows, to be read, [N, width]; mapped where they are a file's."""
        ...


class MemoryRows:
    """Rows in memory."""

    def __init__(self, num_rows: int, width: int, dtype: torch.dtype) -> None:
        self.width, self.dtype = width, dtype
        self._values = torch.empty(num_rows, width, dtype=dtype)

    def read(self, rows: slice, into: Tensor) -> Tensor:
        """See RowStore."""
        del into
        return self._values[rows]

    def write(self, rows: slice, values: Tensor) -> None:
        """See RowStore."""
        self._values[rows] = values

    def whole(self) -> Tensor:
        """See RowStore."""
        return self._values


class FileRows:
    """Rows in a file, after `header`; a new one unless `is_there`.

    Each written block has a sum, and all sums a digest, by which a file is known again.
    """

    def __init__(
        self,
        path: Path,
        num_rows: int,
        width: int,
        dtype: torch.dtype,
        *,
        header: bytes = b"",
        is_there: bool = False,
    ) -> None:
        self.path, self.width, self.dtype = path, width, dtype
        self._num_rows, self._start = num_rows, len(header)
        self._row_bytes = width * dtype.itemsize
        self._sums: dict[int, int] = {}
        flags = os.O_RDWR if is_there else os.O_RDWR | os.O_CREAT | os.O_TRUNC
        self._descriptor = os.open(path, flags, 0o666)
        if not is_there:
            _reserve(self._descriptor, self.num_bytes)
            _put(self._descriptor, header, 0)

    @property
    def num_bytes(self) -> int:
        """Size of the finished file."""
        return self._start + self._num_rows * self._row_bytes

    def read(self, rows: slice, into: Tensor) -> Tensor:
        """See RowStore. Raises EOFError where the file is too short."""
        content: Any = into.view(torch.uint8).numpy()
        target = memoryview(content).cast("B")
        done, place = 0, self._place(rows)
        while done < len(target):
            count = os.preadv(self._descriptor, [target[done:]], place + done)
            if not count:
                raise EOFError(f"{self.path}: ends after {place + done:,} bytes")
            done += count
        return into

    def write(self, rows: slice, values: Tensor) -> None:
        """See RowStore."""
        self._sums[rows.start] = _sum(values)
        content = values.contiguous().view(torch.uint8).numpy()
        _put(self._descriptor, content, self._place(rows))

    def whole(self) -> Tensor:
        """See RowStore."""
        count = self._num_rows * self.width
        first = self._start // self.dtype.itemsize
        mapped = torch.from_file(
            str(self.path), shared=False, size=first + count, dtype=self.dtype
        )  # fmt: skip
        return mapped[first:].view(self._num_rows, self.width)

    def ahead(self, rows: slice) -> None:
        """Let the kernel read rows that will be asked for soon."""
        if hasattr(os, "posix_fadvise"):
            place, count = self._place(rows), (rows.stop - rows.start) * self._row_bytes
            os.posix_fadvise(self._descriptor, place, count, os.POSIX_FADV_WILLNEED)

    def digest(self) -> str:
        """Digest of what was written: of the sums of its blocks."""
        return blake2b(repr(sorted(self._sums.items())).encode(), digest_size=16).hexdigest()

    def is_whole(self, digest: str, blocks: Iterable[slice]) -> bool:
        """Whether the file is what was written in these blocks."""
        if os.fstat(self._descriptor).st_size != self.num_bytes:
            return False
        for rows in blocks:
            into = torch.empty(rows.stop - rows.start, self.width, dtype=self.dtype)
            self._sums[rows.start] = _sum(self.read(rows, into))
        return self.digest() == digest

    def close(self) -> None:
        """No more reading or writing; what is mapped stays."""
        os.close(self._descriptor)

    def _place(self, rows: slice) -> int:
        place: int = self._start + rows.start * self._row_bytes
        return place


def _sum(values: Tensor) -> int:
    """Of a block's words: one that was not written, or not all of it, has another."""
    flat = values.contiguous().view(torch.uint8).flatten()
    word = next(kind for kind in _WORDS if not len(flat) % kind.itemsize)
    return int(flat.view(word).sum())


_WORDS = (torch.int64, torch.int32, torch.int16, torch.uint8)


def _put(descriptor: int, content: Any, place: int) -> None:
    source, done = memoryview(content).cast("B"), 0
    while done < len(source):
        done += os.pwrite(descriptor, source[done:], place + done)


def _reserve(descriptor: int, num_bytes: int) -> None:
    """Room on the disk: a full one is found out now, and blocks are written in less time."""
    if num_bytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, num_bytes)
            return
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
    with suppress(OSError):
        os.ftruncate(descriptor, num_bytes)
