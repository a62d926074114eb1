"""Faults are done for real, to real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(code, *arguments)` starts a Python process; it and its children end with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def kill_soon() -> Callable[[subprocess.Popen[str], int, float], None]:
    """`kill_soon(process, seed, within)`: after its first line, SIGKILL at a random moment."""

    def kill(process: subprocess.Popen[str], seed: int, within: float) -> None:
        assert process.stdout is not None
        assert process.stdout.readline() != "", process.communicate()[1]
        time.sleep(random.Random(seed).uniform(0.0, within))  # noqa: S311, not for secrets
        process.send_signal(signal.SIGKILL)
        process.wait()

    return kill


@pytest.fixture
def flip_bit() -> Callable[[Path], None]:
    """`flip_bit(path)` changes one bit in the middle of a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)

    return flip
