"""Versions that are published and that readers were never switched to, and what was said of each.

    <root>/published/<name>/unpromoted.json    by the beginning of a version's key

By the key and not by the name: what is noted before a version is made holds from its first moment,
also where a process is killed in between, and for the same inputs published again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pinsage.errors import ArtifactError
from pinsage.files import write_atomic

FILE = "unpromoted.json"

Said = Literal["undecided", "promote", "refuse", "ask"]


@dataclass(frozen=True)
class Mark:
    """What was said of a version that readers do not follow.

    Attributes:
        said: `undecided` until the gate has looked; `promote` where only the switch is missing
        reasons: why, a line each
        by: the person who said it; empty for the gate
    """

    said: Said = "undecided"
    reasons: tuple[str, ...] = ()
    by: str = ""

    @property
    def waits(self) -> bool:
        """Whether readers may still be switched to it without force."""
        return self.said != "refuse"


def edition(version: str) -> str:
    """What a version's name says of its key."""
    return version.rpartition("-")[2]


def read_marks(folder: Path) -> dict[str, Mark]:
    """By edition. Raises ArtifactError where the file cannot be read."""
    file = folder / FILE
    try:
        return {
            each: Mark(**{**kept, "reasons": tuple(kept["reasons"])})
            for each, kept in json.loads(file.read_text(encoding="utf-8")).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read ({error}); delete it, after which every version there counts "
            f"as one that readers have followed"
        ) from None


def mark(folder: Path, version: str, what: Mark, there: Iterable[str]) -> None:
    """Note what is said of a version, given by its name or edition. The caller holds the lock.

    `there` are the names of all versions; marks of others are forgotten.
    """
    known = {edition(each) for each in there} | {edition(version)}
    marks = {each: kept for each, kept in read_marks(folder).items() if each in known}
    _write(folder, marks | {edition(version): what})


def lift(folder: Path, version: str) -> None:
    """Readers follow it, or have: it is a version like others. The caller holds the lock."""
    marks = read_marks(folder)
    if marks.pop(edition(version), None) is not None:
        _write(folder, marks)


def _write(folder: Path, marks: dict[str, Mark]) -> None:
    tree = {each: asdict(kept) for each, kept in marks.items()}
    write_atomic(folder / FILE, json.dumps(tree, indent=2, ensure_ascii=False) + "\n")
