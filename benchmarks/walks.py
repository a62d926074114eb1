"""Neighbourhoods a second, beside DGL's sampler and the machine's random access.

    python benchmarks/walks.py [--graph small|10m|100m] [--rounds N] [--dgl-python PATH]

Each side is a process of its own, and they take turns: a round asks each once, and the table has
the rounds' medians, by the clock and by CPU time: on a machine that others use too, the latter is
what a core does, and the former what was left of it. Ours answers for more items than DGL, which
takes longer for each. DGL needs an environment of its own, whose interpreter `--dgl-python` names
(benchmarks/README.md).

The floor: a step along an edge takes two loads at random places that depend on each other, one of
the row's start and degree, one of the edge. What such a load takes with as many walks in flight is
measured in the same rounds by a pointer chase through as much memory as the graph takes; a step can
take less than two of them, because some rows are read so often that they stay in the cache.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from _graphs import power_law_graph
from _peer import Peer
from _timing import print_table
from _walks_problem import STEPS_A_WALK

_HERE = Path(__file__).parent
_SHAPES = {
    "small": (100_000, 20_000, 1_000_000),
    "10m": (1_000_000, 200_000, 10_000_000),
    "100m": (5_000_000, 2_000_000, 100_000_000),
}
_SETTINGS = ((200, 50), (10, 10))  # walks, T
_ITEMS = {200: 100_000, 10: 1_000_000}  # that a round of ours walks from
_OURS_TO_DGL = 20  # so many times as many as DGL
_Case = tuple[str, int, int, int]  # side, threads, walks, T
_IN_FLIGHT = {"T = 50": 200, "T = 10": 160, "one": 1}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--graph", choices=_SHAPES, default="small")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dgl-python")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as ends:
        facts = _write_graph(chosen.graph, Path(folder))
        ours = ends.enter_context(_peer(sys.executable, "_walks_ours.py", folder))
        sides = {"ours": ours}
        if chosen.dgl_python:
            sides["DGL"] = ends.enter_context(_peer(chosen.dgl_python, "_walks_dgl.py", folder))
        else:
            print("DGL was not asked: no --dgl-python")
        _compare(chosen.graph, facts, sides, chosen.rounds)
        mib = max(1, round(facts["bytes"] / 2**20))
        _chase(ours, mib, chosen.rounds)


def _write_graph(name: str, folder: Path) -> dict[str, float]:
    graph = power_law_graph(*_SHAPES[name], seed=7)
    graph.save(folder)
    rows = graph.num_items + graph.num_contexts
    return {
        "edges": graph.num_edges,
        "items": graph.num_items,
        "share": float((graph.item_degree > 0).mean()),
        "bytes": 8 * rows + 8 * graph.num_edges,
    }


def _peer(python: str, script: str, folder: str) -> Peer:
    path = {} if python == sys.executable else {"DGLBACKEND": "pytorch", "PYTHONPATH": ""}
    return Peer([python, str(_HERE / script), folder], path, threads=2)


def _compare(name: str, facts: dict[str, float], sides: dict[str, Peer], rounds: int) -> None:
    asked = {
        (side, threads, walks, size): _items(side, walks, int(facts["items"]))
        for walks, size in _SETTINGS
        for threads in (1, 2)
        for side in sides
    }
    found: dict[_Case, list[tuple[float, float]]] = {each: [] for each in asked}
    for number in range(rounds + 1):
        for (side, threads, walks, size), items in asked.items():
            wall, cpu = sides[side].ask(f"table {threads} {walks} {size} {items}")
            if number:  # the first round compiles, and brings the graph into memory
                found[side, threads, walks, size].append((items / wall, items / cpu))
    title = f"Neighbourhoods, {name}: {facts['edges']:,} edges, {facts['items']:,} items"
    columns = ("", "walks", "T", "threads", "k/s", "× 1 thread", "ns a step", "× DGL")
    for at, clock in enumerate(("by the clock", "a core, by CPU time")):
        rates = {case: statistics.median(each[at] for each in of) for case, of in found.items()}
        print_table(f"{title}, {clock}", columns, _rows(rates, facts["share"]))
    memory = [(side, round(peer.ask("peak"))) for side, peer in sides.items()]
    print_table(f"Memory; the graph has {facts['bytes'] / 2**20:.0f} MiB", ("", "peak MiB"), memory)


def _rows(rates: dict[_Case, float], share: float) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for (side, threads, walks, size), rate in rates.items():
        steps = rate * walks * STEPS_A_WALK * share  # a second; an isolated item's walks take none
        peer = rates.get(("DGL", threads, walks, size), float("nan"))
        rows.append((side, walks, size, threads, round(rate / 1000, 1),
                     rate / rates[side, 1, walks, size], 1e9 / steps, rate / peer))  # fmt: skip
    return rows


def _items(side: str, walks: int, most: int) -> int:
    items = min(_ITEMS[walks], most)
    return items if side == "ours" else items // _OURS_TO_DGL


def _chase(ours: Peer, mib: int, rounds: int) -> None:
    rows = []
    for name, in_flight in _IN_FLIGHT.items():
        found = [ours.ask(f"chase {in_flight} {mib}") for _ in range(rounds + 1)]
        load = 1e9 * statistics.median(found[1:])
        rows.append((f"{name}: {in_flight} in flight", load, 2 * load))
    print_table(f"Pointer chase through {mib} MiB, one thread", ("", "ns a load", "two"), rows)


if __name__ == "__main__":
    main()
