"""Wall seconds and peak memory of a piece of work."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from types import TracebackType

_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class Meter:
    """Context manager; afterwards `seconds` and `peak_mib` hold what the block took.

    On Linux the kernel's high-water mark is reset on entry, so that the peak is the block's own.
    Elsewhere, and where the reset is not allowed, it is the process's peak so far.
    """

    seconds: float = 0.0
    peak_mib: float = 0.0

    def __enter__(self) -> Meter:
        try:
            _CLEAR_REFS.write_text("5")  # proc(5): reset VmHWM to the current resident size
        except OSError:
            pass  # not Linux, or not allowed: the process's peak is reported instead
        self._start = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.seconds = time.monotonic() - self._start
        self.peak_mib = peak_memory_mib()


def peak_memory_mib() -> float:
    """Peak resident memory of this process in MiB, since the last reset where there was one."""
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass  # not Linux: fall through to getrusage
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
