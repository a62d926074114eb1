"""One training step by part, beside plain PyG, DGL and the arithmetic alone.

    python benchmarks/training.py [--items N] [--rounds N] [--dgl-python PATH] [--paper]

Each variant is a process of one thread, counted in CPU time; one at a time, because plain PyG takes
11 GB at the default size, and all of them twice, so that a change of the machine's load shows. All
have the same allocator settings but the rows with none, as the pipeline. DGL needs an environment
of its own, whose interpreter `--dgl-python` names (benchmarks/README.md).
`--paper` is the paper's own iteration instead, on a GPU in earnest, on a CPU as an exercise.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from _peer import Peer
from _timing import print_table
from _training_problem import Size, write_problem

_HERE = Path(__file__).parent
_PARTS = ("sample", "gather", "forward", "backward", "optimiser")
_ALLOCATOR = {
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=17179869184:"
    "glibc.malloc.trim_threshold=68719476736"
}

_OURS: dict[str, tuple[str, dict[str, str]]] = {
    "float32": ("float32", _ALLOCATOR),
    "bfloat16": ("bfloat16", _ALLOCATOR),
    "float32, as the pipeline": ("float32", {}),
    "bfloat16, as the pipeline": ("bfloat16", {}),
    "float32, a vector an item": ("ids", _ALLOCATOR),
    "plain PyG": ("pyg", _ALLOCATOR),
}
_BESIDE_THE_FLOOR = tuple(
    name for name, (variant, _) in _OURS.items() if variant in ("float32", "bfloat16")
)


class Found:
    """What the processes of a variant have answered."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.rates: list[float] = []
        self.floor: dict[str, float] = {}
        self.mib = 0.0

    def add(self, peer: Peer, rounds: int, *, ours: bool) -> None:
        """Take steps; the first ones only find their memory."""
        warm, counted = (12, 3 * rounds) if ours else (2, rounds)
        self.steps += [peer.ask("step") for _ in range(warm + counted)][warm:]
        self.mib = max(self.mib, peer.ask("peak"))
        if ours:
            self.rates.append(peer.ask("rate"))
            self.floor = peer.ask("floor")

    def median(self, part: str) -> float:
        """Of a part over the steps."""
        return statistics.median(step[part] for step in self.steps)

    @property
    def seconds(self) -> float:
        """Of a step."""
        return sum(self.median(part) for part in _PARTS)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dgl-python")
    parser.add_argument("--paper", action="store_true")
    chosen = parser.parse_args()
    if chosen.paper:
        from _training_paper import paper_iteration

        paper_iteration()
        return
    with tempfile.TemporaryDirectory() as folder:
        size = Size(chosen.items)
        write_problem(size, Path(folder))
        _compare(size, folder, chosen.dgl_python, chosen.rounds)
        _overlap(folder, chosen.rounds + 1)


def _ours(variant: str, environment: dict[str, str], folder: str, threads: int = 1) -> Peer:
    command = [sys.executable, str(_HERE / "_training_ours.py"), variant, folder]
    return Peer(command, environment, threads)


def _dgl(python: str, folder: str) -> Peer:
    command = [python, str(_HERE / "_training_dgl.py"), folder]
    return Peer(command, {"DGLBACKEND": "pytorch", "PYTHONPATH": "", **_ALLOCATOR})


def _compare(size: Size, folder: str, dgl: str | None, rounds: int) -> None:
    variants: dict[str, Callable[[], Peer]] = {
        name: partial(_ours, *how, folder) for name, how in _OURS.items()
    }
    if dgl:
        variants["DGL"] = partial(_dgl, dgl, folder)
    found = {name: Found() for name in variants}
    for _ in range(2):
        for name, start in variants.items():
            with start() as peer:
                found[name].add(peer, rounds, ours=name in _BESIDE_THE_FLOOR)
    _print_steps(size, found)
    columns = ("variant", "GFLOP", "GFLOP/s", "floor ms", "step / floor", "gathered MB")
    floors = [_floor(name, found[name]) for name in _BESIDE_THE_FLOOR]
    print_table("The matrix products alone", columns, floors)
    if not dgl:
        print("DGL was not asked: no --dgl-python")


def _print_steps(size: Size, found: dict[str, Found]) -> None:
    ours = found["float32"]
    columns = (
        "variant",
        *(f"{part} ms" for part in _PARTS),
        "step ms",
        "× ours",
        "sample %",
        "MiB",
    )
    rows = [
        (
            name,
            *(round(1000 * of.median(part)) for part in _PARTS),
            round(1000 * of.seconds),
            of.seconds / ours.seconds,
            100 * of.median("sample") / of.seconds,
            round(of.mib),
        )
        for name, of in found.items()
    ]
    title = (
        f"{size.pairs} pairs, T = {size.neighbours}, H = {size.hidden}, {size.items} items: "
        f"{ours.median('nodes'):.0f} nodes, {ours.median('edges'):.0f} entries"
    )
    print_table(title, columns, rows)


def _floor(name: str, of: Found) -> tuple[object, ...]:
    flop, rate, gathered = of.floor["flop"], statistics.median(of.rates), of.floor["bytes"]
    ratio = of.seconds * rate / flop
    return (name, flop / 1e9, rate / 1e9, 1000 * flop / rate, ratio, gathered / 1e6)


def _overlap(folder: str, rounds: int) -> None:
    rows = []
    for threads in (1, 2):
        with _ours("float32", _ALLOCATOR, folder, threads) as peer:
            peer.ask("ahead 0")
            found = [(peer.ask("ahead 0"), peer.ask("ahead 2")) for _ in range(rounds)]
        for ahead, of in enumerate(zip(*found, strict=True)):
            step, waited = (statistics.median(x[key] for x in of) for key in ("step", "waited"))
            rows.append((threads, 2 * ahead, 1000 * step, 100 * waited / step))
    columns = ("torch threads", "made ahead", "step ms", "% of it waiting")
    print_table("Minibatches made ahead by a thread, wall time", columns, rows)


if __name__ == "__main__":
    main()
