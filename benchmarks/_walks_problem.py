"""What our walks and DGL's are asked alike. Needs NumPy only, as DGL's environment has."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LENGTH = 3
RESTART = 0.5
STEPS_A_WALK = 2 * (1 - (1 - RESTART) ** LENGTH) / RESTART
"""Edges that a walk is expected to take: two a hop."""


def serve_lines(answers: dict[str, Callable[..., Any]]) -> None:
    """Answer `NAME NUMBER …` on each line of standard input by a line of JSON."""
    for line in sys.stdin:
        name, *numbers = line.split()
        found = peak_mib() if name == "peak" else answers[name](*map(int, numbers))
        print(json.dumps(found), flush=True)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds by the clock, and of CPU time of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def peak_mib() -> float:
    """Most memory that this program has had at once; what its parent had is not counted."""
    status = Path("/proc/self/status").read_text().splitlines()
    kib = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    return int(kib) / 1024
