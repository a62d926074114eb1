"""Rows that travel between the parts of a cluster in a layer: what the formulas say, and a count.

    python benchmarks/shuffle.py [--items N] [--communities G] [--size T] [--walks W] [--width D]

On a graph with planted communities, whose catalog order says nothing of them: pull (each distinct
row once), push (a partial sum for each target and source part) and naive (each neighbour's row), in
catalog order, in the order that propagated labels give, and in that of the planted communities,
which is what the labels should find. A row pulled is D values; a partial sum is D float32 values
and the number of its target, whatever the rows are stored as.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from _communities import Communities
from _timing import print_table

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods
from pinsage.inference.partitions import Order, count_rows, locality_order
from pinsage.inference.volume import pulled_rows, pushed_rows

_PARTS = (4, 20, 100, 378)
_CONTEXTS = 5  # items a context
_EDGES = 10  # an item


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--communities", type=int, default=1000)
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--walks", type=int, default=200)
    parser.add_argument("--width", type=int, default=128)
    chosen = parser.parse_args()
    table = _table(chosen.items, chosen.communities, chosen.size, chosen.walks)
    start = time.perf_counter()
    found = locality_order(table.neighbors, table.weights)
    seconds = time.perf_counter() - start
    planted = np.argsort(np.arange(chosen.items) % chosen.communities, kind="stable")
    orders = {
        "catalog": Order.catalog(chosen.items),
        "labels": found,
        "planted": Order.of(planted.astype(np.int32)),
    }
    _report(table, orders, chosen.width, seconds)


def _table(items: int, communities: int, size: int, walks: int) -> Neighbourhoods:
    kind = Communities(items, items // _CONTEXTS, items * _EDGES, num_communities=communities)
    chunks = list(kind.tables())
    item_row, context_row = (
        np.concatenate([chunk[name].to_numpy() for chunk in chunks])
        for name in ("item_row", "user_row")
    )
    graph = BipartiteGraph.from_edges(
        item_row, context_row, num_items=items, num_contexts=items // _CONTEXTS
    )
    return build_neighbourhoods(graph, NeighbourhoodConfig(size=size, walks=walks), seed=7)


def _report(table: Neighbourhoods, orders: dict[str, Order], width: int, seconds: float) -> None:
    items = table.num_items
    filled = float((table.neighbors >= 0).sum())
    indegree = np.bincount(table.neighbors[table.neighbors >= 0], minlength=items)
    degree = (table.neighbors >= 0).sum(axis=1)
    rows: list[tuple[object, ...]] = []
    for parts in _PARTS:
        away = 1 - 1 / parts  # of the rows of random parts, those that are not a part's own
        rows.append((parts, "formula", away * filled / items,
                     away * pushed_rows(degree, parts) / items,
                     away * pulled_rows(indegree, parts) / items, "", ""))  # fmt: skip
        for name, order in orders.items():
            pulled, pushed = count_rows(table.neighbors, order, parts)
            gigabytes = pulled * width * 4 / 1e9, pushed * (width * 4 + 4) / 1e9
            rows.append((parts, name, "", pushed / items, pulled / items, *gigabytes))
    print_table(
        f"Rows an item and layer that leave their part: {items:,} items, "
        f"{filled / items:.1f} neighbours each, labels found in {seconds:.1f} s",
        ("P", "order", "naive", "push", "pull", "pull GB fp32", "push GB"),
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main()
