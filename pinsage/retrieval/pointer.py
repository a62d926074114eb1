"""One small object that changes as a whole, and only for who has seen its latest content.

S3 compares the object's ETag when it writes (If-Match, If-None-Match). A local path is guarded by a
lock. Any other file system offers neither: there the content is compared just before it is written,
and of two writers in the same instant the last one wins.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

from pinsage.files import locked, write_atomic

_ATTEMPTS = 20


class Pointer(Protocol):
    """An object that is read with a tag, and replaced only while it still has that tag."""

    def read(self) -> tuple[bytes | None, str]:
        """The content, None where there is none, and its tag."""

    def replace(self, content: bytes, tag: str) -> bool:
        """Write in one step; False, and nothing written, where the tag is another by now."""


def pointer_at(fs: Any, path: str) -> Pointer:
    """The pointer at a path of an fsspec file system."""
    if "s3" in protocols(fs):
        return S3Pointer(fs, path)
    return LocalPointer(Path(path)) if "file" in protocols(fs) else ComparedPointer(fs, path)


def protocols(fs: Any) -> set[str]:
    """Names of a file system's kind, e.g. s3 and s3a."""
    return {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)


class LocalPointer:
    """A file, guarded by a lock beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[bytes | None, str]:
        """The content and its digest."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None, ""
        return content, _tag(content)

    def replace(self, content: bytes, tag: str) -> bool:
        """Compare and rename, both under the lock."""
        with locked(self._path.with_name(".lock")):
            if self.read()[1] != tag:
                return False
            write_atomic(self._path, content)
        return True


class ComparedPointer:
    """An object of a file system that cannot compare: last writer wins within one instant."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path

    def read(self) -> tuple[bytes | None, str]:
        """The content and its digest."""
        self._fs.invalidate_cache()
        try:
            content: bytes = self._fs.cat_file(self._path)
        except FileNotFoundError:
            return None, ""
        return content, _tag(content)

    def replace(self, content: bytes, tag: str) -> bool:
        """Compare, then write."""
        if self.read()[1] != tag:
            return False
        self._fs.pipe_file(self._path, content)
        return True


class S3Pointer:
    """An object of S3, which compares for us."""

    def __init__(self, fs: Any, path: str) -> None:
        self._fs, self._path = fs, path

    def read(self) -> tuple[bytes | None, str]:
        """The content and its ETag."""
        for _ in range(_ATTEMPTS):
            before = self._etag()
            if not before:
                return None, ""
            content: bytes = self._fs.cat_file(self._path)
            if self._etag() == before:  # it was not replaced between the two questions
                return content, before
        raise OSError(f"{self._path}: was replaced {_ATTEMPTS} times while it was read")

    def replace(self, content: bytes, tag: str) -> bool:
        """A conditional put."""
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            self._fs.pipe_file(self._path, content, **condition)
        except OSError:
            found, now = self.read()
            if found == content:  # an answer that was lost, and a second try that met the first
                return True
            if now == tag:
                raise
            return False
        return True

    def _etag(self) -> str:
        self._fs.invalidate_cache()
        try:
            return str(self._fs.info(self._path)["ETag"])
        except FileNotFoundError:
            return ""


def _tag(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
