"""Unpack a ZIP archive that nobody vouches for.

All members are checked before the first is written: no path out of the folder, no link, no more
bytes than announced. ZIP's own checksums are verified as the members are read.
"""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pinsage.errors import SourceError

MOST_BYTES = 20 * 2**30


def unpack(archive: Path, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
    """Unpack `archive` into the existing `folder`, without a top folder all members share.

    Raises SourceError where the archive is broken, holds an unsafe member or would grow beyond
    `most_bytes`; `folder` may then hold a part.
    """
    try:
        with zipfile.ZipFile(archive) as bundle:
            # Folders are checked as well, then dropped: their files make them.
            checked = [(member, _safe_path(archive, member)) for member in bundle.infolist()]
            members = [member for member, _ in checked if not member.is_dir()]
            paths = [path for member, path in checked if not member.is_dir()]
            _check_size(archive, members, most_bytes)
            _check_distinct(archive, paths)
            shared = {path.parts[0] for path in paths}
            strip = 1 if len(shared) == 1 and all(len(path.parts) > 1 for path in paths) else 0
            for member, path in zip(members, paths, strict=True):
                target = folder.joinpath(*path.parts[strip:])
                target.parent.mkdir(parents=True, exist_ok=True)
                with bundle.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{archive}: broken ZIP archive ({error}); fetch it again") from None


def _safe_path(archive: Path, member: zipfile.ZipInfo) -> PurePosixPath:
    name = member.orig_filename
    path = PurePosixPath(name)
    # A backslash, colon or NUL means a path on one system and part of a name on another.
    unsafe = path.is_absolute() or ".." in path.parts or any(mark in name for mark in "\\:\0")
    mode = member.external_attr >> 16
    special = stat.S_IFMT(mode) not in (0, stat.S_IFREG)
    if unsafe or special or not path.parts:
        reason = "is a link or device" if special else "would be written outside the folder"
        raise SourceError(
            f"{archive}: refused, because its member {name!r} {reason}; nothing was unpacked"
        )
    return path


def _check_size(archive: Path, members: list[zipfile.ZipInfo], most_bytes: int) -> None:
    total = sum(member.file_size for member in members)
    if total > most_bytes:
        raise SourceError(
            f"{archive}: refused, because it would unpack to {total:,} bytes, more than "
            f"{most_bytes:,}"
        )


def _check_distinct(archive: Path, paths: list[PurePosixPath]) -> None:
    if not paths or len(set(paths)) < len(paths):
        found = "holds a name twice" if paths else "is empty"
        raise SourceError(f"{archive}: refused, because the archive {found}")
