"""A process that answers what it is asked, so that one variant's memory is not another's."""

from __future__ import annotations

import json
import os
import subprocess
from typing import IO, Any, Self, cast


class Peer:
    """A process that does what it is asked, a line at a time (`_training_problem.serve`)."""

    def __init__(self, command: list[str], environment: dict[str, str], threads: int = 1) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), **environment},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, what: str) -> Any:
        """Its answer. Raises RuntimeError where the process has ended."""
        to, back = cast("tuple[IO[str], IO[str]]", (self._process.stdin, self._process.stdout))
        to.write(f"{what}\n")
        to.flush()
        if not (line := back.readline()):
            raise RuntimeError(f"{self._process.args!r} has ended; run it by hand to see why")
        return json.loads(line)
