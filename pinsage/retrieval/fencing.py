"""Fencing tokens: who began later goes first, so that a late publisher cannot undo newer work.

A publisher takes a number when its work begins; numbers only grow. Once a number has published,
smaller ones are refused, however long they were under way. The numbers lie beside the versions, in
`fence.json` of a folder, which one lock guards for all processes and, on a shared file system, for
all hosts; where versions go to an object store, in the one object that readers follow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pinsage.errors import ArtifactError, PublishError
from pinsage.files import write_atomic

FILE = "fence.json"


@dataclass(frozen=True)
class Token:
    """A publisher's place in line: its number in the folder, and in the object store if any."""

    local: int
    remote: int = 0


@dataclass(frozen=True)
class Fence:
    """The last number handed out, the last that published, and what it published."""

    issued: int = 0
    published: int = 0
    version: str = ""
    who: str = ""
    when: str = ""

    def check(self, number: int, where: str) -> None:
        """Raise PublishError where a later publisher has published."""
        if number < self.published:
            raise PublishError(
                f"{where}: this publisher began too early: it has token {number}, and token "
                f"{self.published} published {self.version} since ({self.who}, {self.when}); "
                f"nothing was changed: run it again to publish from today's inputs"
            )

    def passed(self, number: int, version: str, event: Mapping[str, Any]) -> Fence:
        """The fence after `number` has published; it never goes back."""
        return replace(
            self,
            issued=max(self.issued, number),
            published=max(self.published, number),
            version=version,
            who=str(event["who"]),
            when=str(event["when"]),
        )


def take(folder: Path) -> int:
    """The next number of a folder. The caller holds the lock."""
    fence = read_fence(folder)
    number = fence.issued + 1
    write_fence(folder, replace(fence, issued=number))
    return number


def read_fence(folder: Path) -> Fence:
    """The fence of a folder. Raises ArtifactError where it cannot be read."""
    file = folder / FILE
    try:
        return Fence(**json.loads(file.read_text()))
    except FileNotFoundError:
        return Fence()
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read ({error}); stop every publisher, then delete it, which "
            f"forgets who began first"
        ) from None


def write_fence(folder: Path, fence: Fence) -> None:
    """Replace the fence of a folder. The caller holds the lock."""
    write_atomic(folder / FILE, json.dumps(asdict(fence), indent=2) + "\n")
