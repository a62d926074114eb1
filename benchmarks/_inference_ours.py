"""One engine over a job that is there, in a process of its own.

    python benchmarks/_inference_ours.py FOLDER ITEMS T THREADS ENGINE STORAGE OUT

Prints seconds, CPU seconds, and the peaks of anonymous and of file-backed memory in MiB, looked at
50 times a second, beyond what the process had when torch was imported.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from threading import Event, Thread

from _inference_problem import make_job, with_settings

from pinsage.inference.stage import choose_engine

_EVERY = 0.02  # seconds
_KINDS = ("RssAnon", "RssFile")


def main() -> None:
    """Run it."""
    folder, items, size, threads, engine, storage, out = sys.argv[1:]
    job = make_job(Path(folder), int(items), int(size))
    job = with_settings(job, int(threads), engine=engine, storage=storage)
    Path(out).mkdir(parents=True, exist_ok=True)
    ended, peaks, before = Event(), dict.fromkeys(_KINDS, 0.0), _resident()

    def look() -> None:
        while not ended.wait(_EVERY):
            for kind, mib in _resident().items():
                peaks[kind] = max(peaks[kind], mib - before[kind])

    watcher = Thread(target=look)
    watcher.start()
    start, cpu = time.perf_counter(), time.process_time()
    choose_engine(job.settings).embed(job, Path(out))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    ended.set()
    watcher.join()
    print(json.dumps({"seconds": seconds, "cpu": cpu, **peaks}))


def _resident() -> dict[str, float]:
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {line[0][:-1]: int(line[1]) / 1024 for line in lines if line[0][:-1] in _KINDS}


if __name__ == "__main__":
    main()
