"""Published versions of a data set's embeddings, and which of them readers follow.

What is on disk below `<root>/published/<name>/`:

    <version>/   immutable once visible
    CURRENT      one line, replaced atomically
    withdrawn    versions rolled back; publishing does not return to them
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pinsage import files
from pinsage.errors import ArtifactError
from pinsage.files import discard, write_atomic
from pinsage.store import MANIFEST, Manifest, open_artifact, read_manifest

EMBEDDINGS = "embeddings"  # folder of a version: shards of item_id, title and vector
_CURRENT = "CURRENT"
_WITHDRAWN = "withdrawn"
_STAMP = "%Y%m%dt%H%M%Sz"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionInfo:
    """One published version, as its manifest describes it."""

    version: str
    created: str
    key: str
    num_items: int
    dimension: int
    current: bool
    withdrawn: bool


def shelf(root: Path, name: str) -> Path:
    """Folder of a data set's versions."""
    return root / "published" / name


def names(root: Path) -> list[str]:
    """Data sets with something published."""
    return sorted(p.parent.name for p in (root / "published").glob(f"*/{_CURRENT}"))


def only_name(root: Path) -> str:
    """The one published data set. Raises ArtifactError where there is none, or several."""
    found = names(root)
    if len(found) != 1:
        listed = f"found {', '.join(found)}; choose one with --name" if found else (
            "nothing is published there; run `pinsage demo`, or `pinsage run --config FILE`"
        )  # fmt: skip
        raise ArtifactError(f"{root / 'published'}: {listed}")
    return found[0]


def current_version(root: Path, name: str) -> str:
    """The version readers follow. Raises ArtifactError where nothing is published."""
    pointer = shelf(root, name) / _CURRENT
    try:
        return pointer.read_text().strip()
    except FileNotFoundError:
        raise ArtifactError(
            f"{pointer}: no such file, so nothing is published for {name}; run "
            f"`pinsage run --config FILE` first"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{pointer}: cannot be read ({error}); publish again") from None


def list_versions(root: Path, name: str) -> list[VersionInfo]:
    """All versions, oldest first, but for unreadable ones, which are logged.

    Raises ArtifactError where nothing is published.
    """
    current = current_version(root, name)
    withdrawn = _withdrawn(shelf(root, name))
    infos = []
    for path in _folders(shelf(root, name)):
        manifest = _manifest(path)
        if manifest is not None:
            infos.append(
                VersionInfo(
                    version=path.name,
                    created=manifest.created,
                    key=manifest.key,
                    num_items=manifest.facts["num_items"],
                    dimension=manifest.facts["dimension"],
                    current=path.name == current,
                    withdrawn=path.name in withdrawn,
                )
            )
    return infos


def rollback(root: Path, name: str, version: str | None = None) -> str:
    """Point readers at `version`, or at the one before the current; returns it.

    The version left behind is withdrawn: a nightly that would publish the same again does not
    switch back to it. Going to a withdrawn version lifts that. Raises ArtifactError where there is
    no such version, or where it is damaged: readers then stay where they are.
    """
    folder = shelf(root, name)
    with locked(folder):
        # By the folders' names alone: the version to get away from may be the damaged one.
        there = [path.name for path in _folders(folder)]
        current = current_version(root, name)
        target = _before(there, current, folder) if version is None else version
        open_artifact(named_version(root, name, target))
        withdrawn = _withdrawn(folder) - {target}
        if target < current:  # versions are named by time: only going back withdraws
            withdrawn |= {current}
        write_atomic(folder / _WITHDRAWN, json.dumps(sorted(withdrawn)))
        write_atomic(folder / _CURRENT, target + "\n")
    return target


def named_version(root: Path, name: str, version: str) -> Path:
    """Folder of the version with this name. Raises ArtifactError where there is none."""
    folder = shelf(root, name)
    there = [path.name for path in _folders(folder)]
    if version not in there:
        raise ArtifactError(f"{folder}: has no version {version}; it has {', '.join(there)}")
    return folder / version


def champion(root: Path, name: str, embeddings: str) -> Path | None:
    """The version that new embeddings, named by their digest, are to be compared with.

    It is what readers follow, and where that holds these very embeddings the newest before it with
    others; None where there is none.
    """
    folder = shelf(root, name)
    if not (folder / _CURRENT).exists():
        return None
    current, withdrawn = current_version(root, name), _withdrawn(folder)
    for path in reversed(_folders(folder)):
        if path.name > current or (path.name in withdrawn and path.name != current):
            continue
        manifest = _manifest(path)
        if manifest is not None and manifest.inputs["embeddings"] != embeddings:
            return path
    return None


def switch(folder: Path, version: str) -> None:
    """Point readers at a version, unless it was withdrawn. The caller holds the lock."""
    if version not in _withdrawn(folder):
        write_atomic(folder / _CURRENT, version + "\n")
    else:
        _log.warning(
            "%s: %s was rolled back, so readers do not follow it; `pinsage rollback %s` goes "
            "forward to it again", folder, version, version,
        )  # fmt: skip


def find_by_key(folder: Path, key: str) -> Path | None:
    """The undamaged version made from the same inputs, if there is one."""
    for path in _folders(folder):
        manifest = _manifest(path)
        if manifest is not None and manifest.key == key:
            try:
                return open_artifact(path).path
            except ArtifactError as error:
                _log.warning("publishing anew what is damaged: %s", error)
    return None


def new_version(folder: Path, now: datetime, key: str) -> str:
    """A name that sorts after all there are, also in the same second or if the clock went back."""
    stamps = [path.name.partition("-")[0] for path in _folders(folder)]
    stamp = f"{now:{_STAMP}}"
    if stamps and stamp <= stamps[-1]:
        stamp = f"{datetime.strptime(stamps[-1], _STAMP) + timedelta(seconds=1):{_STAMP}}"  # noqa: DTZ007
    return f"{stamp}-{key[:8]}"


def prune(folder: Path, keep: int) -> None:
    """Remove the oldest versions beyond `keep`, never the current. The caller holds the lock."""
    current = (folder / _CURRENT).read_text().strip()
    others = [path for path in _folders(folder) if path.name != current]
    for path in others[: max(0, len(others) - (keep - 1))]:
        discard(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a data set's published folder for writing; the lock goes with the process."""
    with files.locked(folder / ".lock"):
        yield


def _before(there: list[str], current: str, folder: Path) -> str:
    withdrawn = _withdrawn(folder)
    earlier = [version for version in there if version < current and version not in withdrawn]
    if not earlier:
        raise ArtifactError(
            f"{folder}: there is no version before {current} to go back to; name one of "
            f"{', '.join(there)}"
        )
    return earlier[-1]


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def _withdrawn(folder: Path) -> set[str]:
    path = folder / _WITHDRAWN
    try:
        return set(json.loads(path.read_text()))
    except FileNotFoundError:
        return set()
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}); delete it, which forgets what was rolled back"
        ) from None


def _manifest(path: Path) -> Manifest | None:
    # None where it is damaged: one version must not hide the others.
    try:
        return read_manifest(path)
    except ArtifactError as error:
        _log.warning("passing over a damaged version: %s", error)
        return None
