"""Files and folders that appear complete, or not at all.

Work is done in a hidden staging folder beside its target, flushed to disk, and made visible by one
rename. What a killed process left behind is swept by the next one that works there.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pinsage.errors import ArtifactError, PinSageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NEARLY_NOTHING = 1 << 22  # bytes
_log = logging.getLogger(__name__)


@contextmanager
def staging_folder(target: Path) -> Iterator[Path]:
    """A fresh folder beside `target`, to be published; removed if the work fails.

    Raises ArtifactError where the disk is full or the folder cannot be made.
    """
    _make_folder(target.parent)
    _sweep(target.parent)
    staging = target.parent / _staging_name()
    _make_folder(staging)
    try:
        with _explaining_full_disk(target):
            yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def publish_folder(staging: Path, target: Path) -> None:
    """Make a finished folder visible under its name: flushed to disk, then one rename."""
    for file in staging.rglob("*"):
        _fsync(file)
    _fsync(staging)
    try:
        os.rename(staging, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        # Another process finished the same work first; the content is the same by construction.
        shutil.rmtree(staging)
    _fsync(target.parent)


def discard(path: Path) -> None:
    """Remove a folder: it is gone by one rename, so that nobody ever finds half of it."""
    doomed = path.parent / _staging_name()
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a small file so that a reader sees the old or the new content, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write that takes the place of `path` at the end, unless the work fails.

    Raises ArtifactError where the disk is full or the folder cannot be made.
    """
    _make_folder(path.parent)
    _sweep(path.parent)
    temporary = path.parent / _staging_name()
    try:
        with _explaining_full_disk(path):
            yield temporary
            _fsync(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _fsync(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a finished file a second name, so that no byte is copied where links can be made."""
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


@contextmanager
def locked(file: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file, after waiting for whoever holds it; the lock goes with the process.

    Raises BlockingIOError where `wait` is off and another holds it.
    """
    _make_folder(file.parent)
    while True:
        with file.open("a") as handle:
            _take(handle.fileno(), fcntl.LOCK_EX, file, wait=wait)
            if not _is_at(handle.fileno(), file):
                continue  # who held it has removed the file: the next to come would lock another
            yield
            return


def hold_shared(file: Path) -> int:
    """Hold a lock file together with others, against one that wants it alone.

    Returns the descriptor: the lock goes when it is closed. Waits for who has it alone. Raises
    OSError where the file cannot be made.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(descriptor, fcntl.LOCK_SH, file, wait=True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def holders(file: Path) -> list[int]:
    """Ids of the processes of this host that hold a lock file, where the kernel tells (Linux)."""
    try:
        inode, lines = file.stat().st_ino, Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    fields = [line.split() for line in lines if " FLOCK " in line and "->" not in line]
    return sorted({int(each[4]) for each in fields if each[5].rpartition(":")[2] == str(inode)})


def _take(descriptor: int, kind: int, file: Path, *, wait: bool) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        _log.info("waiting for another process that holds %s", file)
        fcntl.flock(descriptor, kind)


def _is_at(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(
            f"{path}: this folder cannot be made ({error.strerror}); check `root` in the "
            f"configuration, its permissions and the free space"
        ) from error


@contextmanager
def _explaining_full_disk(target: Path) -> Iterator[None]:
    try:
        yield
    except PinSageError:
        raise
    except Exception as error:
        if not _is_full_disk(error, target.parent):
            raise
        raise ArtifactError(
            f"{target}: no space left to write it ({error}); what was there before is untouched: "
            f"free some space and run again"
        ) from error


def _is_full_disk(error: Exception, folder: Path) -> bool:
    if isinstance(error, OSError) and error.errno is None:
        return (
            shutil.disk_usage(folder).free < _NEARLY_NOTHING
        )  # NumPy: "9 requested and 3 written"
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(os.strerror(code) in str(error) for code in _FULL)  # safetensors, FAISS


def _staging_name() -> str:
    return f".staging-{os.getpid()}-{secrets.token_hex(4)}"


def _sweep(folder: Path) -> None:
    """Remove what killed processes left behind."""
    for leftover in folder.glob(".staging-[0-9]*-*"):
        owner = int(leftover.name.split("-")[1])
        if owner != os.getpid() and not is_alive(owner):
            _log.info("removing %s, left behind by a process that is gone", leftover)
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether there is a process with this id on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
