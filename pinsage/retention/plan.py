"""What may be removed of what a root holds, and removing it.

Decided purely: `plan` reads and says of every artifact, of every unfinished stage and of every
record of a run why it stays, or that it goes; `collect` acts on it. Artifacts are found by their
content, so that removing one costs time at most: whoever needs it makes it again.

Invariant: nothing is removed while a process has the root's store open, and what is removed is gone
by one rename. Downloads, caches, studies and what is published are no part of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pinsage.config import RetentionConfig
from pinsage.files import discard, holders, is_alive, locked
from pinsage.retention.needs import DAY, Needs, Place, kept_records
from pinsage.store import IN_USE, MANIFEST

Kind = Literal["artifact", "scratch", "record", "leftover"]


@dataclass(frozen=True)
class Entry:
    """Something below a root that stays or goes.

    Attributes:
        path: relative to the root
        bytes: size of its files
        goes: whether it is to be removed
        why: the reason, as a person reads it
        frees: bytes that come free with the plan; each file is counted once, with the first entry
            that has it, and not at all where it has a name outside the plan
    """

    kind: Kind
    path: str
    bytes: int
    goes: bool
    why: str
    frees: int = 0


@dataclass(frozen=True)
class Plan:
    """All entries of a root, and the processes that have its store open.

    Attributes:
        in_use: True where another process has it open: then only the plan can be made
        users: ids of those processes, as far as this host knows them
    """

    entries: tuple[Entry, ...]
    in_use: bool = False
    users: tuple[int, ...] = ()

    @property
    def going(self) -> tuple[Entry, ...]:
        """What is to be removed."""
        return tuple(each for each in self.entries if each.goes)

    @property
    def frees(self) -> int:
        """Bytes that come free on the disk."""
        return sum(each.frees for each in self.entries)


def plan(root: Path, policy: RetentionConfig, *, now: float | None = None) -> Plan:
    """What would go now; nothing is changed. `now` is in seconds since 1970."""
    moment = time.time() if now is None else now
    entries = [
        *_artifacts(root, policy, moment),
        *_scratch(root, policy, moment),
        *_records(root, policy, moment),
        *_leftovers(root, moment),
    ]
    found = tuple(_with_frees(root, entries))
    return Plan(found, _is_held(root / IN_USE), tuple(holders(root / IN_USE)))


def collect(root: Path, policy: RetentionConfig, *, now: float | None = None) -> Plan:
    """Remove what may go, and return the plan of it.

    Where another process has the store open nothing is removed: the plan then says `in_use`.
    """
    if not root.is_dir():
        return Plan(())
    try:
        with locked(root / IN_USE, wait=False):
            decided = Plan(plan(root, policy, now=now).entries)
            for entry in decided.going:
                _remove(root / entry.path, entry.kind)
            return decided
    except BlockingIOError:
        return replace(plan(root, policy, now=now), in_use=True)


def _artifacts(root: Path, policy: RetentionConfig, now: float) -> Iterator[Entry]:
    reasons = Needs(root, policy, now).reasons
    for stage in _folders(root / "stages"):
        for folder in _folders(stage):
            if not (folder / MANIFEST).is_file():
                continue  # not ours
            why = reasons.get(Place(stage.name, folder.name))
            path, size = str(folder.relative_to(root)), _size(folder)
            yield Entry("artifact", path, size, why is None, why or "nothing needs it")


def _scratch(root: Path, policy: RetentionConfig, now: float) -> Iterator[Entry]:
    """Folders of unfinished stages with their lock files; a lock file alone is one too."""
    for stage in _folders(root / "scratch"):
        keys = {file.stem for file in stage.glob("[!.]*.lock")}
        for key in sorted(keys | {folder.name for folder in _folders(stage)}):
            folder = stage / key
            if (root / "stages" / stage.name / key / MANIFEST).is_file():
                goes, why = True, "its stage is finished"
            elif now - _last_change(folder) < policy.scratch_days * DAY:
                goes, why = False, f"changed in the last {policy.scratch_days:g} days"
            else:
                goes, why = True, "given up: nobody went on with it"
            if goes and _is_held(folder.with_suffix(".lock")):
                goes, why = False, "a process is building it"
            path = str(folder.relative_to(root))
            yield Entry("scratch", path, _size(folder), goes, why)


def _records(root: Path, policy: RetentionConfig, now: float) -> Iterator[Entry]:
    kept = {file.name for file in kept_records(root, policy.runs)}
    for file in sorted((root / "runs").glob("[!.]*.json")):
        if file.name in kept:
            goes, why = False, "one of the newest runs"
        elif now - file.stat().st_mtime < policy.record_days * DAY:
            goes, why = False, f"of the last {policy.record_days:g} days"
        else:
            goes, why = True, "old"
        yield Entry("record", str(file.relative_to(root)), file.stat().st_size, goes, why)


def _leftovers(root: Path, now: float) -> Iterator[Entry]:
    """Folders that a process which is gone was writing, or removing.

    Its id says nothing where another host wrote it: those of the last day stay.
    """
    for folder in [*_folders(root / "stages"), *_folders(root / "scratch")]:
        for left in sorted(folder.glob(".staging-[0-9]*-*")):
            owner = int(left.name.split("-")[1])
            goes = not is_alive(owner) and now - left.stat().st_mtime >= DAY
            why = "left behind by a process that is gone" if goes else "may be written now"
            yield Entry("leftover", str(left.relative_to(root)), _size(left), goes, why)


def _remove(path: Path, kind: Kind) -> None:
    if kind == "record":
        path.unlink(missing_ok=True)
    elif kind != "scratch":
        discard(path)
    else:
        lock = path.with_suffix(".lock")
        with _unless_held(lock) as is_mine:
            if is_mine:
                if path.is_dir():
                    discard(path)
                lock.unlink(missing_ok=True)


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with _unless_held(lock) as is_mine:
        return not is_mine


@contextmanager
def _unless_held(lock: Path) -> Iterator[bool]:
    try:
        with locked(lock, wait=False):
            yield True
    except BlockingIOError:
        yield False


def _with_frees(root: Path, entries: list[Entry]) -> Iterator[Entry]:
    """Entries with what each frees: files have several names where artifacts share them."""
    names: dict[tuple[int, int], int] = {}
    owned: dict[int, dict[tuple[int, int], os.stat_result]] = {}
    for place, entry in enumerate(entries):
        if not entry.goes:
            continue
        for found in _stats(root / entry.path):
            identity = (found.st_dev, found.st_ino)
            if identity not in names:
                owned.setdefault(place, {})[identity] = found
            names[identity] = names.get(identity, 0) + 1
    for place, entry in enumerate(entries):
        mine = owned.get(place, {})
        frees = sum(each.st_size for key, each in mine.items() if names[key] >= each.st_nlink)
        yield Entry(entry.kind, entry.path, entry.bytes, entry.goes, entry.why, frees)


def _size(path: Path) -> int:
    return sum(each.st_size for each in _stats(path))


def _last_change(folder: Path) -> float:
    """Of a scratch folder, its lock file, or anything in it; seconds since 1970."""
    paths = [folder, folder.with_suffix(".lock"), *folder.rglob("*")]
    return max((each.lstat().st_mtime for each in paths if each.exists()), default=0.0)


def _stats(path: Path) -> Iterator[os.stat_result]:
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    for file in files:
        if file.is_file() and not file.is_symlink():
            yield file.lstat()


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(each for each in parent.iterdir() if each.is_dir() and each.name[0] != ".")
