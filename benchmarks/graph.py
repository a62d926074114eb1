"""Edges a second and peak memory of the graph's construction, against its floor.

    python benchmarks/graph.py --folder BIG_DISK                 1 M, 10 M and 100 M edges
    python benchmarks/graph.py --folder BIG_DISK --sizes 1e9     needs 60 GB and more

Each build is a fresh process, whose peak is its own. Graphs are made once a folder: half as many
contexts as items, 50 interactions an item, 20,000 items a community (_communities.py), so that a
larger graph is more of the same; --discard removes them afterwards.

The floor is the bytes that must move, at the speeds that this run measures, the best of three:
what is read, the Parquet file, the runs, and the first direction twice for the second one, at that
of reading a file from the page cache; runs at that of writing a file into it; both CSRs at that of
writing a file and flushing it to the disk. See pinsage/graph/construction. Decoding Parquet and
sorting are above it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _communities import Communities
from _timing import print_table

_INTERACTIONS_PER_ITEM = 50
_COMMUNITY = 20_000  # items
_PROBE, _PIECE = 1 << 29, 1 << 22  # bytes

_BUILD = """
import json, sys, time
from pathlib import Path
from pinsage.config import GraphConfig
from pinsage.graph.construction import stage
from pinsage.measure import Meter

edges, num_items, folder, settings, warm = sys.argv[1:]
folder, settings = Path(folder), GraphConfig(**json.loads(settings))

def build(edges, num_items, name, listener=None):
    out, scratch = folder / f"out-{name}", folder / f"scratch-{name}"
    out.mkdir()
    scratch.mkdir()
    return stage.write_graph(edges, num_items, settings, 7, out=out, scratch=scratch,
                             listener=listener)

build(Path(warm), 2, "warm")  # loads the compiled kernels
parts = {}
with Meter() as meter:
    facts = build(Path(edges), int(num_items), "real",
                  lambda p: parts.__setitem__(p.part, p.done / p.rate if p.rate else 0.0))
print(json.dumps({"seconds": meter.seconds, "peak_mib": meter.peak_mib, "parts": parts, **facts}))
"""


@dataclass(frozen=True)
class Speeds:
    """GB/s of reading a file from the page cache, writing one into it, and onto the disk."""

    read: float
    write: float
    flush: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Build each graph in a process of its own; print what it took beside the floor."""
    options = _options(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    speeds = _speeds(options.folder)
    rows = []
    for size in options.sizes:
        graph = _graph(int(size))
        file = options.folder / f"edges-{graph.num_edges}.parquet"
        if not file.exists():
            part = file.with_suffix(".part")
            graph.write(part)
            part.rename(file)
        for setting in options.settings:
            runs = [_build(graph, file, setting, options) for _ in range(options.repeats)]
            rows.append(_row(graph, file, setting, runs, speeds))
        if options.discard:
            file.unlink()
    columns = ("edges", "kept", "MiB", "s", "M/s", "read", "sort", "turn", "floor", "×")
    title = (
        f"Graph construction, seconds; GB/s: {speeds.read:.1f} read, {speeds.write:.1f} written, "
        f"{speeds.flush:.1f} flushed"
    )
    print_table(title, columns, rows)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    default = Path(tempfile.gettempdir()) / "pinsage-graphs"
    parser.add_argument("--folder", type=Path, default=default, help="where graphs are kept")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--settings", nargs="+", default=["none"], choices=["none", "count", "sum"])
    parser.add_argument("--memory-mib", type=int, default=1024, help="graph.memory_mib")
    parser.add_argument("--repeats", type=int, default=3, help="builds, of which the median counts")
    parser.add_argument("--discard", action="store_true", help="remove each graph afterwards")
    return parser.parse_args(arguments)


def _graph(num_edges: int) -> Communities:
    num_items = max(200, num_edges // _INTERACTIONS_PER_ITEM)
    communities = max(1, num_items // _COMMUNITY)
    return Communities(num_items, num_items // 2, num_edges, num_communities=communities)


def _build(
    graph: Communities, file: Path, weights: str, options: argparse.Namespace
) -> dict[str, Any]:
    settings = json.dumps({"weights": weights, "memory_mib": options.memory_mib})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        warm = Path(folder) / "warm.parquet"
        Communities(2, 2, 10, num_communities=1).write(warm)
        os.sync()  # what was written before is not this build's to wait for
        command = [sys.executable, "-c", _BUILD, file, graph.num_items, folder, settings, warm]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _row(
    graph: Communities,
    file: Path,
    weights: str,
    runs: list[dict[str, Any]],
    speeds: Speeds,
) -> tuple[object, ...]:
    chosen = sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2]
    seconds, distinct = statistics.median(run["seconds"] for run in runs), chosen["num_edges"]
    rows, weighted = graph.num_edges, weights != "none"
    run_bytes = (16 if weights == "sum" else 8) * rows
    gets = file.stat().st_size + 2 * run_bytes + (16 if weighted else 8) * distinct
    puts = (24 if weighted else 8) * distinct + 8 * (graph.num_items + graph.num_contexts)
    floor = (gets / speeds.read + run_bytes / speeds.write + puts / speeds.flush) / 1e9
    numbers = seconds, rows / seconds / 1e6, *chosen["parts"].values(), floor, seconds / floor
    name = f"{rows / 1e6:g} M {weights if weighted else ''}"
    shown = (f"{number:.2f}" if number < 10 else f"{number:.1f}" for number in numbers)
    return name, f"{distinct / rows:.0%}", round(chosen["peak_mib"]), *shown


def _speeds(folder: Path) -> Speeds:
    data = np.random.default_rng(0).integers(0, 256, _PROBE, dtype=np.uint8)
    times = []
    for _ in range(3):
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            moments = [time.perf_counter()]
            data.tofile(file.file)
            moments.append(time.perf_counter())
            os.fsync(file.fileno())
            moments.append(time.perf_counter())
            for start in range(0, _PROBE, _PIECE):
                np.fromfile(file.name, np.uint8, _PIECE, offset=start).max()
            moments.append(time.perf_counter())
        begun, written, flushed, read = moments
        times.append((read - flushed, written - begun, flushed - begun))
    best = np.min(times, axis=0)
    return Speeds(*(float(_PROBE / seconds / 1e9) for seconds in best))


if __name__ == "__main__":
    main()
