"""What links two items in the graph: shared contexts, walks, paths, neighbours in common (§3.1)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from pinsage.config import NeighbourhoodConfig
from pinsage.data.times import iso
from pinsage.evaluation.baselines import ItemKNNScorer
from pinsage.evaluation.ranking import Scorer, rank_pairs
from pinsage.explain.parts import (
    BothWays,
    CommonNeighbour,
    CommonNeighbours,
    ItemRef,
    SharedContext,
    SharedContexts,
    Standing,
    TwoStepPath,
    TwoStepPaths,
    Visits,
)
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.graph.visits import visit_counts


def standings(scorer: Scorer, query: int, item: int, num_items: int) -> BothWays[Standing]:
    """The item's exact place among all items for the query, and the query's for the item."""
    ends = np.array([query, item], dtype=np.int32)
    ranks = rank_pairs(scorer, ends, ends[::-1].copy(), num_items, block=2).tolist()
    others = num_items - 2  # beside the two
    placed = [Standing(rank, (others + 1 - rank) / others if others else 1.0) for rank in ranks]
    return BothWays(*placed)


def shared_contexts(
    graph: BipartiteGraph, query: int, item: int, shown: tuple[SharedContext, ...] = ()
) -> SharedContexts:
    """How many contexts the two share, beside chance, and what item-kNN makes of it."""
    mine, theirs = _contexts(graph, query), _contexts(graph, item)
    shared = len(np.intersect1d(mine, theirs, assume_unique=True))
    product = len(mine) * len(theirs)
    expected = product / graph.num_contexts if graph.num_contexts else 0.0
    plain = ItemKNNScorer(graph, shrink=0.0)
    return SharedContexts(
        shared=shared,
        query=len(mine),
        item=len(theirs),
        everyone=graph.num_contexts,
        expected=expected,
        lift=shared / expected if expected else None,
        cosine=shared / product**0.5 if product else 0.0,
        standing=standings(plain, query, item, graph.num_items),
        shown=shown,
    )


def newest_contexts(ingested: Path, query: int, item: int, count: int) -> tuple[SharedContext, ...]:
    """The `count` users who came last to have both, newest first; 0 reads nothing.

    `ingested` is an ingest artifact's folder.
    """
    if count == 0:
        return ()
    rows = pq.read_table(
        ingested / "interactions.parquet",
        columns=["user_row", "item_row", "timestamp"],
        filters=[("item_row", "in", [query, item])],
    ).to_pandas()
    last = [rows[rows["item_row"] == row].groupby("user_row")["timestamp"].max()
            for row in (query, item)]  # fmt: skip
    both = pd.concat(last, axis=1, join="inner", keys=["query", "item"]).reset_index()
    both["since"] = both[["query", "item"]].max(axis=1)
    both = both.sort_values(["since", "user_row"], ascending=[False, True]).head(count)
    ids = pq.read_table(ingested / "users.parquet")["user_id"].take(both["user_row"].to_numpy())
    times = zip(ids.to_pylist(), both["query"].tolist(), both["item"].tolist(), strict=True)
    return tuple(SharedContext(user, iso(first), iso(second)) for user, first, second in times)


def visits(
    graph: BipartiteGraph,
    table: Neighbourhoods,
    walks: NeighbourhoodConfig,
    seed: int,
    query: int,
    item: int,
) -> BothWays[Visits]:
    """Walk from both items anew, as the table's walks did."""
    counts = visit_counts(
        graph,
        np.array([query, item], dtype=np.int32),
        walks=walks.walks,
        length=walks.length,
        restart=walks.restart,
        seed=seed,
        stop_when_stable=walks.stop_when_stable,
        size=walks.size,
    )
    return BothWays(
        _visits(counts[0], graph, table, query, item),
        _visits(counts[1], graph, table, item, query),
    )


def two_step_paths(
    table: Neighbourhoods, start: int, end: int, titles: pd.DataFrame, count: int
) -> TwoStepPaths:
    """Paths start → via → end over the table, heaviest first; equal weights by the via's row.

    A model of two layers or more sees them: Algorithm 2 draws in neighbours of neighbours.
    """
    vias, first = _neighbours(table, start)
    is_end = table.neighbors[vias] == end
    second = np.where(is_end, table.weights[vias], np.float32(0.0)).sum(axis=1, dtype=np.float64)
    weight = first * second
    order = np.lexsort((vias, -weight))[: int(is_end.any(axis=1).sum())]
    top = tuple(
        TwoStepPath(
            reference(titles, vias[at]), float(first[at]), float(second[at]), float(weight[at])
        )
        for at in order[:count]
    )
    return TwoStepPaths(number=len(order), weight=float(weight.sum()), top=top)


def common_neighbours(
    table: Neighbourhoods, query: int, item: int, titles: pd.DataFrame, count: int
) -> CommonNeighbours:
    """Items in both neighbourhoods, by the smaller of the two weights; equal ones by row."""
    mine, my_weights = _neighbours(table, query)
    theirs, their_weights = _neighbours(table, item)
    rows, left, right = np.intersect1d(mine, theirs, assume_unique=True, return_indices=True)
    smaller = np.minimum(my_weights[left], their_weights[right])
    top = tuple(
        CommonNeighbour(
            reference(titles, rows[at]),
            float(my_weights[left[at]]),
            float(their_weights[right[at]]),
        )
        for at in np.lexsort((rows, -smaller))[:count]
    )
    return CommonNeighbours(number=len(rows), overlap=float(smaller.sum()), top=top)


def reference(items: pd.DataFrame, row: int | np.integer) -> ItemRef:
    """Id and title of the item in a row."""
    (item_id,) = items["item_id"].iloc[[int(row)]].tolist()  # a list holds Python's own numbers
    return ItemRef(item_id, str(items["title"].iloc[int(row)]))


def _contexts(graph: BipartiteGraph, row: int) -> npt.NDArray[np.int32]:
    return graph.item_indices[graph.item_indptr[row] : graph.item_indptr[row + 1]]


def _neighbours(
    table: Neighbourhoods, row: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    there = table.neighbors[row] >= 0
    return table.neighbors[row][there], table.weights[row][there].astype(np.float64)


def _visits(
    counts: npt.NDArray[np.int32],
    graph: BipartiteGraph,
    table: Neighbourhoods,
    start: int,
    other: int,
) -> Visits:
    places = np.flatnonzero(table.neighbors[start] == other).tolist()
    return Visits(
        visits=int(counts[other]),
        of=int(counts.sum()),
        place=places[0] + 1 if places else None,
        weight=float(table.weights[start, places[0]]) if places else 0.0,
        by_content=not len(_contexts(graph, start)) and bool((table.neighbors[start] >= 0).any()),
    )
