"""All items embedded on a Ray cluster of this machine's own, beside the local engine.

    python benchmarks/cluster.py [--items N] [--size T] [--parts P] [--order O] [--storage S]
        [--rounds N]

Each side is a process of its own, in turns, on the same job. The first embedding of a Ray cluster
is told apart from the next on the same one: starting it and its processes, which import torch, is
what small catalogs wait for. Memory is the sum over the side's processes, each one's own and its
share of what they hold together, looked at ten times a second; the object store is a part of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
from _inference_problem import make_job, with_settings
from _timing import print_table

from pinsage.inference.engine import EMBEDDINGS, Engine, Job
from pinsage.inference.local import LocalEngine

_THREADS = 2
_MIB = 1 << 20


def main() -> None:
    """Print the table, or be one side."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--parts", type=int, default=0)
    parser.add_argument("--order", choices=("auto", "catalog", "locality"), default="auto")
    parser.add_argument("--storage", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", choices=("local", "ray"))
    chosen = parser.parse_args()
    if chosen.side:
        _side(chosen)
        return
    with tempfile.TemporaryDirectory() as temporary:
        _compare(chosen, chosen.folder or Path(temporary))


def _compare(chosen: argparse.Namespace, folder: Path) -> None:
    make_job(folder, chosen.items, chosen.size)
    found: dict[str, list[dict[str, float]]] = {"local": [], "ray": []}
    for _ in range(chosen.rounds):
        for side, rounds in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", str(folder),
                       "--side", side]  # fmt: skip
            rounds.append(_watched(command))
    local, ray = (
        {name: float(np.median([each[name] for each in rounds])) for name in rounds[0]}
        for rounds in found.values()
    )
    rows = [
        ("local", "", local["first"], local["again"], 1.0, local["peak"]),
        ("Ray", ray["start"], ray["first"], ray["again"], ray["again"] / local["again"],
         ray["peak"]),
    ]  # fmt: skip
    out = [np.load(folder / f"{side}-out" / EMBEDDINGS, mmap_mode="r") for side in found]
    difference = float(np.abs(out[0] - out[1]).max())
    print_table(
        f"{chosen.items:,} items, T = {chosen.size}, {chosen.storage}, {_THREADS} cores; largest "
        f"difference of an entry {difference:.1e}",
        ("", "start s", "first s", "again s", "× local", "peak MiB"),
        rows,
    )


def _side(chosen: argparse.Namespace) -> None:
    settings = {"order": chosen.order, "partitions": chosen.parts, "storage": chosen.storage}
    job = with_settings(make_job(chosen.folder, chosen.items, chosen.size), _THREADS, **settings)
    out = chosen.folder / f"{chosen.side}-out"
    out.mkdir(exist_ok=True)
    if chosen.side == "local":
        seconds = [_timed(LocalEngine(), job, out) for _ in range(2)]
        print(json.dumps({"first": seconds[0], "again": seconds[1]}))
        return
    from pinsage.cluster import connected
    from pinsage.inference.ray_engine import RayEngine

    begun = time.perf_counter()
    with connected(cpus=_THREADS):
        start = time.perf_counter() - begun
        seconds = [_timed(RayEngine(), job, out) for _ in range(2)]
    print(json.dumps({"start": start, "first": seconds[0], "again": seconds[1]}))


def _timed(engine: Engine, job: Job, out: Path) -> float:
    start = time.perf_counter()
    engine.embed(job, out)
    return time.perf_counter() - start


def _watched(command: list[str]) -> dict[str, float]:
    """What a side printed, and the largest memory of it and its descendants, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(_memory(pid) for pid in _family(process.pid)))
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, _ = process.communicate()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    facts: dict[str, float] = json.loads(printed.splitlines()[-1])
    return {**facts, "peak": peak / _MIB}


def _family(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def _memory(pid: int) -> int:
    """Bytes of a process that no file can give back, shared ones in proportion."""
    counted = 0
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(("Pss_Anon", "Pss_Shmem")):
                counted += int(line.split()[1]) << 10
    return counted


if __name__ == "__main__":
    main()
