"""Versions are read against their checksums once a process, and again when a file has changed.

To verify 1 M x 128 is to read 1.5 GB, which a server that opens the same version for each of its
workers, or a notebook that opens it in every cell, would pay for again and again.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pinsage.store import Manifest, read_manifest, verify

_REMEMBERED = 256

# Of a manifest's files: name, bytes, time of change (ns), inode.
_Stamps = tuple[tuple[str, int, int, int], ...]


def verified_manifest(path: Path, *, contents: bool = True) -> Manifest:
    """The manifest of a version whose files are as it says. Raises ArtifactError.

    Without `contents` only the files' sizes are compared.
    """
    manifest = read_manifest(path)
    verify(path, manifest.files, contents=False)
    if contents:
        stamps = []
        for name in manifest.files:
            found = (path / name).stat()
            stamps.append((name, found.st_size, found.st_mtime_ns, found.st_ino))
        _verify_once(path, manifest.to_json(), tuple(stamps))
    return manifest


@lru_cache(maxsize=_REMEMBERED)
def _verify_once(path: Path, _manifest: str, _stamps: _Stamps) -> None:
    verify(path, read_manifest(path).files)  # what raises is not remembered
