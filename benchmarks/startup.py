"""Seconds until the command line answers.

    python benchmarks/startup.py

The limit is the interpreter itself, measured in the same run.
"""

from __future__ import annotations

import subprocess
import sys

from _timing import median_seconds, print_table

_COMMANDS = {
    "python -c pass (the limit)": [sys.executable, "-c", "pass"],
    "import pinsage": [sys.executable, "-c", "import pinsage"],
    "pinsage --help": [sys.executable, "-m", "pinsage.cli", "--help"],
}


def main() -> None:
    """Time each command as a process of its own."""
    rows = []
    for name, command in _COMMANDS.items():

        def work(command: list[str] = command) -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

        rows.append((name, 1000 * median_seconds(work)))
    print_table("Start-up", ("command", "ms"), rows)


if __name__ == "__main__":
    main()
