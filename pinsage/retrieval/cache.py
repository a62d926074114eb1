"""Versions of an object store on this machine: fetched once, whole or not at all, then mapped.

They lie in `$PINSAGE_CACHE`, else in the user's cache folder; the newest few of each data set stay.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path

from pinsage.errors import ArtifactError
from pinsage.files import discard, locked, publish_folder, staging_folder
from pinsage.retrieval.remote import RemoteShelf
from pinsage.store import MANIFEST, FileEntry, read_manifest, verify

_KEPT = 3


def fetched(shelf: RemoteShelf, version: str) -> Path:
    """Folder of a version, fetched and verified unless it is there. Raises ArtifactError."""
    if "/" in version or version.startswith("."):
        raise ArtifactError(f"{shelf}: has no version {version!r}")
    folder = cache_folder() / blake2b(shelf.url.encode(), digest_size=8).hexdigest() / shelf.name
    target = folder / version
    if (target / MANIFEST).exists():
        return target
    with locked(folder / f".{version}.lock"):  # one process fetches, others wait for it
        if not (target / MANIFEST).exists():
            with staging_folder(target) as staging:
                shelf.fetch(version, {MANIFEST: FileEntry(0, "")}, staging)
                files = read_manifest(staging).files
                shelf.fetch(version, files, staging)
                verify(staging, files)
                publish_folder(staging, target)
            _forget_old(folder, version)
    return target


def cache_folder() -> Path:
    """Where fetched versions are kept."""
    named = os.environ.get("PINSAGE_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pinsage"


def _forget_old(folder: Path, newest: str) -> None:
    """Who has mapped a version keeps its files until it closes them."""
    others = sorted(
        path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}") if path.parent.name != newest
    )
    for path in others[: max(0, len(others) - (_KEPT - 1))]:
        try:
            discard(path)
        except FileNotFoundError:
            continue  # another process was faster
        (folder / f".{path.name}.lock").unlink(missing_ok=True)
