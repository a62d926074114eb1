"""Neighbours of items that nobody has taken: those most alike by content stand in for them.

No walk leaves an item without a context, so that its convolution would pool nothing, and its log
degree of 0 is nothing that training ever saw. Its stand-ins are weighted by their cosine, and lend
it their degree: the mean of their log(1 + degree), by the same weights.

Who may stand in, `by_content_contexts` contexts or more, is also whom the rarity of a term is
counted among. So an item's stand-ins depend on it and on those alone: other new items change
nothing, and an item that comes later gets what the catalog built with it would give it.

Shapes: N items, C items without a context, K = by_content, T neighbours kept an item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from pinsage.config import FeatureKind, ItemsConfig, NeighbourhoodConfig
from pinsage.content.columns import Content, Float64, Matrix
from pinsage.content.cosines import ContentCosines
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.graph.previous import Previous
from pinsage.graph.stage import walked_table
from pinsage.graph.walks import EMPTY
from pinsage.progress import Listener
from pinsage.store import Facts, Workspace

if TYPE_CHECKING:
    from pinsage.model.features import FeatureSpec

_MAX_COSINES = 1 << 24  # 64 MiB of float32 a block, however large the catalog


@dataclass(frozen=True)
class StandIns:
    """What stands in for C items; a row is empty where no item is alike.

    Attributes:
        neighbors: int32 [C, K], item rows by falling cosine, ties by row; -1 where there are fewer
        weights: float32 [C, K], cosines divided by their sum, 0 where `neighbors` is -1
        degree: float64 [C], 0 where a row is empty
    """

    neighbors: npt.NDArray[np.int32]
    weights: Matrix
    degree: Float64


def find_stand_ins(
    items: pd.DataFrame,
    kinds: Mapping[str, FeatureKind],
    rows: npt.NDArray[np.integer[Any]],
    degree: npt.NDArray[np.int64],
    settings: NeighbourhoodConfig,
    *,
    separator: str,
) -> StandIns:
    """Stand-ins of the items in C `rows` of a catalog; `degree`, int64 [N], is the graph's.

    An item stands in only where its cosine is above 0. Memory: the content of the catalog and a
    block of cosines. Raises TrainingError where a column of `kinds` is not there or has no value.
    """
    num_kept = settings.by_content
    found = StandIns(
        np.full((len(rows), num_kept), EMPTY, dtype=np.int32),
        np.zeros((len(rows), num_kept), dtype=np.float32),
        np.zeros(len(rows)),
    )
    allowed = degree >= settings.by_content_contexts
    if not len(rows) or not allowed.any():
        return found
    content = Content.of_columns(items, kinds, separator=separator, counted=allowed)
    cosines = ContentCosines.of(content)
    log_degree = np.log1p(degree)
    block = max(1, _MAX_COSINES // len(items))
    for start in range(0, len(rows), block):
        here = slice(start, start + block)
        neighbors = found.neighbors[here]
        alike = np.zeros(neighbors.shape, dtype=np.float32)
        _keep_most_alike(cosines.of_rows(rows[here]), allowed, neighbors, alike)
        weights = _shares(alike)
        found.weights[here] = weights
        found.degree[here] = np.expm1((weights * log_degree[neighbors]).sum(axis=1))
    return found


def with_stand_ins(
    table: Neighbourhoods,
    graph: BipartiteGraph,
    items: pd.DataFrame,
    declared: ItemsConfig,
    settings: NeighbourhoodConfig,
) -> Neighbourhoods:
    """The table with stand-ins in the rows of items without a context, and the degrees they show.

    Raises GraphError where `items` are not those of the graph, and else as `find_stand_ins`.
    """
    if len(items) != graph.num_items:
        raise GraphError(
            f"the catalog has {len(items):,} items and the graph {graph.num_items:,}; build the "
            f"graph over this catalog"
        )
    degree = graph.item_degree
    rows = np.flatnonzero(degree == 0)
    found = find_stand_ins(
        items, declared.features, rows, degree, settings, separator=declared.separator
    )
    return _filled(table, degree, rows, found)


def newcomers_with_stand_ins(
    near: Neighbourhoods,
    degree: npt.NDArray[np.int64],
    newcomers: pd.DataFrame,
    graph: BipartiteGraph,
    items: pd.DataFrame,
    spec: FeatureSpec,
    settings: NeighbourhoodConfig,
) -> Neighbourhoods:
    """`with_stand_ins` for M newcomers that have `degree`, int64 [M], of the graph's contexts.

    `items` are those of the graph, with the columns of `spec`. Each row is what a catalog with the
    newcomers in it gives, and does not depend on which others there are.
    """
    rows = np.flatnonzero(degree == 0)
    columns = list(spec.content)
    both = pd.concat([items[columns], newcomers.iloc[rows][columns]], ignore_index=True)
    found = find_stand_ins(
        both, spec.content, np.arange(len(items), len(both)),
        np.append(graph.item_degree, degree[rows]), settings, separator=spec.separator,
    )  # fmt: skip
    return _filled(near, degree, rows, found)


def write_with_stand_ins(
    graph: Path,
    catalog: Path,
    declared: ItemsConfig,
    settings: NeighbourhoodConfig,
    seed: int,
    work: Workspace,
    previous: Previous | None = None,
    listener: Listener | None = None,
) -> Facts:
    """Build the table over a graph artifact, with stand-ins out of a catalog's, and save it.

    Of `previous`, made with the same settings and seed, walked rows are kept as in
    `write_neighbourhoods`; stand-ins are found anew. `listener` hears how far the walks are.
    """
    opened = BipartiteGraph.open(graph)
    finished, facts = walked_table(opened, settings, seed, work, previous, listener)
    walked = finished.open()
    items = pq.read_table(catalog / "items.parquet").to_pandas()
    filled = with_stand_ins(walked, opened, items, declared, settings)
    is_new = (walked.neighbors < 0).all(axis=1) & (filled.neighbors >= 0).any(axis=1)
    return {**filled.save(work.path), **facts, "num_by_content": int(is_new.sum())}


def _filled(
    table: Neighbourhoods,
    degree: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    found: StandIns,
) -> Neighbourhoods:
    num_kept = found.neighbors.shape[1]
    neighbors, weights = np.array(table.neighbors), np.array(table.weights)
    neighbors[rows, :num_kept], weights[rows, :num_kept] = found.neighbors, found.weights
    shown = degree.astype(np.float64)
    shown[rows] = found.degree
    return Neighbourhoods(neighbors, weights, shown)


def _shares(alike: Matrix) -> Float64:
    """Each row divided by its sum, float64; rows of zeros stay."""
    total = alike.sum(axis=1, keepdims=True, dtype=np.float64)
    shares: Float64 = np.divide(alike, total, out=np.zeros(alike.shape), where=total > 0)
    return shares


@numba.njit(parallel=True, cache=True)
def _keep_most_alike(cosines: Any, allowed: Any, neighbors: Any, alike: Any) -> None:
    """The items of the highest cosines above 0, into rows that are empty; ties by row."""
    num_kept = neighbors.shape[1]
    for position in numba.prange(len(cosines)):
        row, kept, best = cosines[position], neighbors[position], alike[position]
        for item in range(len(row)):
            # Above, not level with, the last that is kept: of equals the smaller row came first.
            if not allowed[item] or row[item] <= best[num_kept - 1]:
                continue
            place = num_kept - 1
            while place > 0 and best[place - 1] < row[item]:
                best[place], kept[place] = best[place - 1], kept[place - 1]
                place -= 1
            best[place], kept[place] = row[item], item
