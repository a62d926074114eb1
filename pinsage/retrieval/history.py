"""What was done to a data set's published versions: who, when, what and why, a line each.

A line is written before readers are switched, so that no switch is without one; where a process
is killed in between, the line says what was begun, and CURRENT says what holds.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pinsage.errors import ArtifactError

FILE = "history.jsonl"


def event(what: str, **about: Any) -> dict[str, Any]:
    """One line's content: the time, who does it, what, and whatever else is said of it."""
    return {"when": datetime.now(UTC).isoformat(), "who": who(), "what": what, **about}


def record(folder: Path, entry: dict[str, Any]) -> None:
    """Append a line to a published folder's history, flushed to disk. The caller holds the lock.

    Raises ArtifactError where it cannot be written.
    """
    file = folder / FILE
    try:
        with file.open("a+b") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(end - 1)
                if stream.read(1) != b"\n":  # what a kill left of a line stays a line of its own
                    stream.write(b"\n")
            stream.write(json.dumps(entry, default=str).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise ArtifactError(
            f"{file}: cannot be written ({error}), and nothing is switched without a line in it; "
            f"free some space or mend its permissions"
        ) from None


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The events of a published folder, oldest first; a line cut short by a kill is passed over."""
    file = folder / FILE
    if not file.exists():
        return []
    events = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def who() -> str:
    """User, host and process, for a person who asks later."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container's user without an entry in its database
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}, process {os.getpid()}"
