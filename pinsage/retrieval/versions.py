"""Published versions of a data set's embeddings, and which of them readers follow.

What is on disk below `<root>/published/<name>/`:

    <version>/      immutable once visible
    CURRENT         one line, replaced atomically
    withdrawn       versions rolled back; publishing does not return to them
    fence.json      who began when: a late publisher is refused (fencing.py)
    history.jsonl   who switched readers, when and why
    unpromoted.json versions that readers were never switched to (unpromoted.py)
    to              the address that versions go to besides, where there is one
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pinsage import files
from pinsage.errors import ArtifactError
from pinsage.files import discard, write_atomic
from pinsage.retrieval import history
from pinsage.retrieval.shelf import CURRENT, EMBEDDINGS, current_version, names, only_name, shelf
from pinsage.retrieval.unpromoted import Mark, edition, lift, mark, read_marks
from pinsage.store import MANIFEST, Manifest, open_artifact, read_manifest

__all__ = [
    "EMBEDDINGS",
    "VersionInfo",
    "address",
    "champion",
    "current_version",
    "find_by_key",
    "is_withdrawn",
    "judge",
    "list_versions",
    "locked",
    "named_version",
    "names",
    "new_version",
    "only_name",
    "prune",
    "remember_address",
    "rollback",
    "shelf",
    "switch",
]

# Moves with the readers: entered before they are switched to a version; what it raises stops that.
Companion = Callable[[str], AbstractContextManager[None]]

_WITHDRAWN = "withdrawn"
_ADDRESS = "to"
_STAMP = "%Y%m%dt%H%M%Sz"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VersionInfo:
    """One published version, as its manifest describes it.

    `verdict` is what was said of one that readers never followed; empty for the others.
    """

    version: str
    created: str
    key: str
    num_items: int
    dimension: int
    current: bool
    withdrawn: bool
    verdict: str
    token: int | None
    stability: dict[str, Any]
    path: str
    to: str | None


def list_versions(root: Path, name: str) -> list[VersionInfo]:
    """All versions, oldest first, but for unreadable ones, which are logged.

    Raises ArtifactError where nothing is published.
    """
    folders = _folders(shelf(root, name))
    pointer = shelf(root, name) / CURRENT
    current = current_version(root, name) if pointer.exists() or not folders else ""
    withdrawn, marks = _withdrawn(shelf(root, name)), read_marks(shelf(root, name))
    infos = []
    for path in folders:
        manifest = _manifest(path)
        if manifest is not None:
            is_current, known = path.name == current, marks.get(edition(path.name))
            infos.append(
                VersionInfo(
                    version=path.name,
                    created=manifest.created,
                    key=manifest.key,
                    num_items=manifest.facts["num_items"],
                    dimension=manifest.facts["dimension"],
                    current=is_current,
                    withdrawn=path.name in withdrawn,
                    verdict="" if is_current or known is None else known.said,
                    token=manifest.facts.get("token"),
                    stability=manifest.facts.get("stability", {}),
                    path=str(path),
                    to=manifest.facts.get("to"),
                )
            )
    return infos


def rollback(
    root: Path,
    name: str,
    version: str | None = None,
    *,
    why: str = "",
    companion: Companion | None = None,
) -> str:
    """Point readers at `version`, or at the one before the current; returns it.

    The version left behind is withdrawn: a nightly that would publish the same again does not
    switch back to it. Going to a withdrawn version lifts that. Where versions go to an object store
    too, its readers are switched first. `companion` is entered before anything is switched, and
    left with the error where that fails. Going to one version twice is going there once.

    Raises ArtifactError where there is no such version, where it is damaged, or where the object
    store does not answer: readers then stay where they are.
    """
    folder = shelf(root, name)
    with locked(folder):
        # By the folders' names alone: the version to get away from may be the damaged one.
        there = names_in(folder)
        current = current_version(root, name)
        target = _before(there, current, folder) if version is None else version
        manifest = open_artifact(named_version(root, name, target)).manifest
        withdrawn = _withdrawn(folder) - {target}
        if target < current:  # versions are named by time: only going back withdraws
            withdrawn |= {current}
        with companion(target) if companion else nullcontext():
            _roll_back_elsewhere(folder, name, target, manifest.key, why)
            history.record(folder, history.event("rollback", version=target, was=current, why=why))
            write_atomic(folder / _WITHDRAWN, json.dumps(sorted(withdrawn)))
            write_atomic(folder / CURRENT, target + "\n")
            lift(folder, target)
    return target


def remember_address(folder: Path, url: str) -> None:
    """Keep the address that versions go to besides, so that a rollback reaches it as well."""
    file = folder / _ADDRESS
    if url:
        write_atomic(file, url + "\n")
    else:
        file.unlink(missing_ok=True)


def address(folder: Path) -> str:
    """The address that versions go to besides; empty where there is none."""
    try:
        return (folder / _ADDRESS).read_text().strip()
    except FileNotFoundError:
        return ""


def named_version(root: Path, name: str, version: str) -> Path:
    """Folder of the version with this name. Raises ArtifactError where there is none."""
    folder = shelf(root, name)
    there = names_in(folder)
    if version not in there:
        raise ArtifactError(f"{folder}: has no version {version}; it has {', '.join(there)}")
    return folder / version


def names_in(folder: Path) -> list[str]:
    """Names of all versions in a data set's folder, oldest first."""
    return [path.name for path in _folders(folder)]


def followed_in(folder: Path) -> str | None:
    """The version readers follow; None where that is nothing, or cannot be read."""
    try:
        return current_version(folder.parents[1], folder.name)
    except ArtifactError:
        return None


def champion(root: Path, name: str, embeddings: str) -> Path | None:
    """The version that new embeddings, named by their digest, are to be compared with.

    It is what readers follow, and where that holds these very embeddings the newest before it with
    others that they have followed; None where there is none.
    """
    folder = shelf(root, name)
    if not (folder / CURRENT).exists():
        return None
    current, passed_over = current_version(root, name), _withdrawn(folder) | _unpromoted(folder)
    for path in reversed(_folders(folder)):
        if path.name > current or (path.name in passed_over and path.name != current):
            continue
        manifest = _manifest(path)
        if manifest is not None and manifest.inputs["embeddings"] != embeddings:
            return path
    return None


def is_withdrawn(folder: Path, version: str) -> bool:
    """Whether a version was rolled back, which is said in the log."""
    found = version in _withdrawn(folder)
    if found:
        _log.warning(
            "%s: %s was rolled back, so readers do not follow it; `pinsage rollback %s` goes "
            "forward to it again", folder, version, version,
        )  # fmt: skip
    return found


def switch(folder: Path, version: str) -> None:
    """Point readers at a version. The caller holds the lock."""
    write_atomic(folder / CURRENT, version + "\n")


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
    """Remove the oldest versions beyond `keep`, never the current. The caller holds the lock.

    Those that readers never followed are counted apart, and push no version out that one may roll
    back to: the newest `keep` that wait for somebody stay, and the newest that was refused.
    """
    pointer = folder / CURRENT  # absent where the object store's readers have left what was made
    current = pointer.read_text().strip() if pointer.exists() else ""
    marks = read_marks(folder)
    others = [path for path in _folders(folder) if path.name != current]
    groups: dict[bool | None, list[Path]] = {None: [], True: [], False: []}
    for path in others:
        known = marks.get(edition(path.name))
        groups[None if known is None else known.waits].append(path)
    for waits, kept in ((None, keep - 1), (True, keep), (False, 1)):
        paths = groups[waits]
        for path in paths[: max(0, len(paths) - kept)]:
            discard(path)


def judge(root: Path, name: str, version: str, what: Mark) -> Mark:
    """Note what is said of a version that readers never followed; returns what is now known.

    A person's word stays where the gate only asks again.
    """
    folder = shelf(root, name)
    with locked(folder):
        there = names_in(folder)
        before = read_marks(folder).get(edition(version))
        if before is None:  # readers follow it, or have
            return what
        if before.by and not what.by and what.said == "ask":
            return before
        mark(folder, version, what, there)
    return what


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a data set's published folder for writing; the lock goes with the process."""
    with files.locked(folder / ".lock"):
        yield


def _roll_back_elsewhere(folder: Path, name: str, target: str, key: str, why: str) -> None:
    """Switch the readers of the object store that versions go to, if any."""
    if not (url := address(folder)):
        return
    from pinsage.retrieval.remote import RemoteShelf

    shelf_there = RemoteShelf(url, name)
    there = shelf_there.versions()
    # Another host may have published the same inputs first, under a name of its own.
    version = target if target in there else shelf_there.find_by_key(key)
    if version is None:
        raise ArtifactError(
            f"{shelf_there}: has no version {target} to go back to, only {', '.join(there)}; "
            f"nothing was switched: name another version"
        )
    shelf_there.roll_back(version, why=why)


def _before(there: list[str], current: str, folder: Path) -> str:
    passed_over = _withdrawn(folder) | _unpromoted(folder)
    earlier = [version for version in there if version < current and version not in passed_over]
    if not earlier:
        raise ArtifactError(
            f"{folder}: there is no version before {current} to go back to; name one of "
            f"{', '.join(there)}"
        )
    return earlier[-1]


def _folders(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def _unpromoted(folder: Path) -> set[str]:
    """Names of the versions that readers were never switched to."""
    marks = read_marks(folder)
    return {path.name for path in _folders(folder) if edition(path.name) in marks}


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
