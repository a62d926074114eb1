"""What one night is remembered by: a few kilobytes of counts, kept beside what is published.

    <root>/published/<name>/nights.jsonl    a line a night, the oldest first

It outlives the artifacts of its night. A night is named by the data that it read, so that the same
night run again is one line, and is never compared with itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pinsage.errors import ArtifactError
from pinsage.files import locked, write_atomic

NIGHTS = "nights.jsonl"
_KEPT = 1000


@dataclass(frozen=True)
class Night:
    """Counts of one night.

    Attributes:
        name: digest of the ingested data
        until: its newest interaction, ISO
        numbers: by name: volumes, shares, moments of embeddings
        edges: by numerical feature, the deciles that `counts` are between
        counts: by feature, how many items are in each bin, by the bin's name
        missing: by feature, the share of items without a value
    """

    name: str
    until: str
    numbers: Mapping[str, float]
    edges: Mapping[str, list[float]]
    counts: Mapping[str, Mapping[str, int]]
    missing: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def read_nights(shelf: Path) -> list[Night]:
    """The nights remembered in a data set's published folder, the oldest first.

    Raises ArtifactError where a line cannot be read.
    """
    file = shelf / NIGHTS
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    try:
        return [Night(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise ArtifactError(
            f"{file}: cannot be read ({error}); delete it, which forgets the nights before"
        ) from None


def remember(shelf: Path, night: Night) -> None:
    """Put a night behind the others, or in the place of the same night. Atomic.

    Only nights that went through are worth it: what was stopped must not become what is usual.
    """
    shelf.mkdir(parents=True, exist_ok=True)
    with locked(shelf / ".nights.lock"):
        before = read_nights(shelf)
        place = next((at for at, each in enumerate(before) if each.name == night.name), None)
        if place is None:
            before.append(night)
        else:
            before[place] = night
        lines = (json.dumps(each.to_json(), ensure_ascii=False) for each in before[-_KEPT:])
        write_atomic(shelf / NIGHTS, "".join(f"{line}\n" for line in lines))
