"""Digests of source files, so that an unchanged file is not read again to learn that it is."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pinsage.files import write_atomic
from pinsage.store import digest_of, file_digest

# A file that was written this shortly before it was read may change again within the same tick of
# its file system's clock, and then look the same.
_TICK = 2_000_000_000  # ns


class Digests:
    """Digests of files, remembered below `memory` by what the file system says of each.

    A file whose device, inode, size and times of modification and of change are those of the last
    look is not opened. What cannot be remembered, or cannot be read back, is only read once more.
    """

    def __init__(self, base: Path, memory: Path | None) -> None:
        self._file = memory / f"{digest_of(str(base.resolve()))}.json" if memory else None
        self._known = _read(self._file) if self._file else {}
        self._seen: dict[str, str] = {}

    def of(self, file: Path) -> str:
        """Digest of the content of `file`."""
        moment, before = time.time_ns(), _look(file)
        found = self._known.get(before)
        digest = found or file_digest(file)
        settled = moment - max(file.stat().st_mtime_ns, file.stat().st_ctime_ns) > _TICK
        if found or (settled and _look(file) == before):
            self._seen[before] = digest
        return digest

    def remember(self) -> None:
        """Keep the digests of the files that were asked for, and forget all others."""
        if self._file is not None and self._seen != self._known:
            write_atomic(self._file, json.dumps(self._seen, indent=0) + "\n")


def _look(file: Path) -> str:
    found = file.stat()
    parts = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return " ".join(map(str, parts))


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in known.items()} if isinstance(known, dict) else {}
