"""All items embedded by the local engine, beside minibatches and beside the floor.

    python benchmarks/inference.py [--items 1000000] [--sizes 50 10] [--rounds 3] [--ray]
        [--threads 2] [--folder F] [--only-memory] [--storage float32 bfloat16]

A model of two layers of width 128 over a ready-made vector an item. Each run is a process of its
own; its time begins when torch is imported, and holds opening the model, decoding the features and
writing `embeddings.npy`. The naive peer (`_inference_naive.py`) is timed on a few minibatches of
512 and extrapolated to all. The floor (`_inference_floor.py`) adds up what products, look-ups,
decoding the catalog, writing and reading take alone in the same run.

`--items 10000000 --only-memory --storage bfloat16` asks whether memory is flat; it needs 30 GB of
disk. With `--ray`, the Ray engine does the same job on a cluster of this machine.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from _inference_floor import Cost, floor
from _inference_naive import naive_cost
from _inference_problem import make_job
from _timing import print_table

from pinsage.inference.engine import EMBEDDINGS, Job

_HERE = Path(__file__).parent
_Case = tuple[str, str]  # engine, storage
_STORAGES = ("float32", "bfloat16")
_RAY = (("ray", "float32"),)


def main() -> None:
    """Print the tables."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = options.folder or Path(temporary)
        for size in options.sizes:
            job = make_job(folder, options.items, size)
            _compare(job, options, size, Path(temporary))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 10], help="T")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keeps the job for another run")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--only-memory", action="store_true", help="no peer and no floor")
    parser.add_argument("--storage", nargs="+", choices=_STORAGES, default=_STORAGES)
    return parser.parse_args()


def _compare(job: Job, options: argparse.Namespace, size: int, out: Path) -> None:
    cases = tuple(("local", kind) for kind in options.storage) + (_RAY if options.ray else ())
    found: dict[_Case, list[dict[str, float]]] = {case: [] for case in cases}
    floors: dict[str, list[dict[str, Cost]]] = {}
    for _ in range(options.rounds):
        for engine, storage in cases:
            if not options.only_memory and engine == "local":
                dtype = getattr(torch, storage)
                parts = floor(job, dtype, options.threads, out)
                floors.setdefault(storage, []).append(parts)
            found[engine, storage].append(_run(job, options, size, engine, storage, out))
    medians = {case: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
               for case, runs in found.items()}  # fmt: skip
    least = {storage: {part: _middle([run[part] for run in runs]) for part in runs[0]}
             for storage, runs in floors.items()}  # fmt: skip
    title = f"{options.items:,} items, T = {size}, {options.threads} threads"
    naive, nodes = (Cost(math.nan, math.nan), 0.0)
    if not options.only_memory:
        naive, nodes = naive_cost(job, options.threads)
        print(f"naive: {nodes:,.0f} nodes a minibatch of 512, {naive.clock:,.0f} s in all "
              f"(extrapolated), {naive.cpu:,.0f} of CPU time")  # fmt: skip
    _print_times(title, medians, least, naive, options.items)
    _print_memory(title, medians, options.items)
    _print_differences(cases, out)


def _run(
    job: Job, options: argparse.Namespace, size: int, engine: str, storage: str, out: Path
) -> dict[str, float]:
    target = out / f"{engine}-{storage}"
    shutil.rmtree(target, ignore_errors=True)
    arguments = (job.root.parent, options.items, size, options.threads, engine, storage, target)
    command = [sys.executable, str(_HERE / "_inference_ours.py"), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _print_times(
    title: str,
    medians: dict[_Case, dict[str, float]],
    least: dict[str, dict[str, Cost]],
    naive: Cost,
    num_items: int,
) -> None:
    nothing = Cost(math.nan, math.nan)
    rows = []
    for (engine, storage), run in medians.items():
        bound = _sum(least[storage]) if storage in least else nothing
        beside = medians.get(("local", storage), {"seconds": math.nan})
        rows.append((f"{engine}, {storage}", run["seconds"], run["cpu"],
                     round(num_items / run["seconds"] / 1000), naive.clock / run["seconds"],
                     naive.cpu / run["cpu"], run["seconds"] / bound.clock, run["cpu"] / bound.cpu,
                     run["seconds"] / beside["seconds"]))  # fmt: skip
    columns = ("", "s", "CPU s", "k/s", "× naive", "CPU", "× floor", "CPU", "× local")
    print_table(title, columns, rows)
    for at, kind in enumerate(("by the clock", "of CPU time")):
        parts = [(name, *(cost[at] for cost in of.values()), _sum(of)[at])
                 for name, of in least.items()]  # fmt: skip
        if parts:
            names = next(iter(least.values()))
            print_table(f"Floor, seconds {kind}", ("", *names, "sum"), parts)


def _print_memory(title: str, medians: dict[_Case, dict[str, float]], num_items: int) -> None:
    rows = [
        (f"{engine}, {storage}", round(run["RssAnon"]), round(run["RssFile"]),
         (run["RssAnon"] + run["RssFile"]) * 2**20 / 1e9 / (num_items / 1e6))
        for (engine, storage), run in medians.items()
    ]  # fmt: skip
    columns = ("", "anonymous MiB", "file-backed MiB", "GB a million items")
    print_table(f"Memory, {title}", columns, rows)


def _middle(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(seconds) for seconds in zip(*costs, strict=True)))


def _sum(parts: dict[str, Cost]) -> Cost:
    return Cost(
        sum(part.clock for part in parts.values()), sum(part.cpu for part in parts.values())
    )


def _print_differences(cases: tuple[_Case, ...], out: Path) -> None:
    """Largest difference of an entry from the local engine's in float32."""
    if ("local", "float32") not in cases:
        return
    ours = np.load(out / "local-float32" / EMBEDDINGS, mmap_mode="r")
    rows = []
    for engine, storage in sorted(set(cases) - {("local", "float32")}):
        other = np.load(out / f"{engine}-{storage}" / EMBEDDINGS, mmap_mode="r")
        blocks = range(0, len(ours), 1 << 16)
        largest = max(np.abs(ours[b : b + (1 << 16)] - other[b : b + (1 << 16)]).max()
                      for b in blocks)  # fmt: skip
        rows.append((f"{engine}, {storage}", float(largest)))
    print_table("Largest difference of an entry from local, float32", ("", "difference"), rows)


if __name__ == "__main__":
    main()
