"""The table of an earlier night, whose rows are kept where nothing that they depend on changed.

It changes no row, so that it is no part of a stage's key: only the time depends on it. Light, for
a stage looks for it each time that it is built.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pinsage.errors import ArtifactError
from pinsage.graph.bipartite import BipartiteGraph, Indices
from pinsage.graph.neighbourhoods import Neighbourhoods, Rows
from pinsage.graph.reach import Reach
from pinsage.graph.walks import EMPTY
from pinsage.store import Artifact, Facts, Store, digest_of, open_artifact

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Previous:
    """A finished table and the graph that it was walked on; `key` is the table's in the store."""

    key: str
    graph: BipartiteGraph
    table: Neighbourhoods


def find_previous(
    store: Store, *, settings: Mapping[str, Any], sources: str, num_edges: int
) -> Previous | None:
    """The table of a store that was made with these settings and this code's digest.

    Of several the one whose graph is nearest in edges, and of those the newest: a night makes two
    tables, of the training period and of everything, and a store may hold several data sets. None
    where there is none, where its graph is gone, or where it is damaged.
    """
    tables = [
        each
        for each in store.made("neighbourhoods", on_damage=_tell)
        if each.manifest.code == sources
        and digest_of(each.manifest.settings) == digest_of(dict(settings))
    ]
    graphs = {each.digest(): each for each in store.made("graph", on_damage=_tell)}
    known = [(graphs[of], each) for each in tables if (of := _graph_of(each)) in graphs]
    if not known:
        return None
    known.sort(key=lambda pair: pair[1].manifest.created, reverse=True)
    graph, table = min(known, key=lambda pair: abs(_num_edges(pair[0]) - num_edges))
    try:
        return Previous(
            table.manifest.key,
            BipartiteGraph.open(open_artifact(graph.path).path),
            Neighbourhoods.open(open_artifact(table.path).path),
        )
    except (ArtifactError, OSError) as error:
        _log.warning("no row of an earlier night is kept: %s", error)
        return None


class KeptRows:
    """Rows of the table of `graph`: those of `previous` that no change can reach, others walked."""

    def __init__(self, previous: Previous, graph: BipartiteGraph, length: int) -> None:
        self._table = previous.table
        # Their rows are empty but for stand-ins, which are found anew over the whole table.
        self._had_contexts = previous.graph.item_degree > 0
        self._reach = Reach.between(previous.graph, graph, length)
        self.facts: Facts = {
            "kept_from": previous.key,
            "num_changed_items": self._reach.num_changed_items,
            "num_changed_contexts": self._reach.num_changed_contexts,
        }

    def to_walk(self, items: Indices) -> Indices:
        """Those of some items that have to be walked from."""
        return items[self._reach.items[items]]

    def rows(self, items: Indices, walked: Rows) -> Rows:
        """Rows of some items; `walked` are those of `to_walk`."""
        again = self._reach.items[items]
        neighbors = np.full((len(items), self._table.size), EMPTY, dtype=np.int32)
        weights = np.zeros(neighbors.shape, dtype=np.float32)
        neighbors[again], weights[again] = walked
        copied = ~again
        copied[copied] = self._had_contexts[items[copied]]
        neighbors[copied] = self._table.neighbors[items[copied]]
        weights[copied] = self._table.weights[items[copied]]
        return neighbors, weights


def _tell(error: ArtifactError) -> None:
    _log.warning("no row of an earlier night is taken from it: %s", error)


def _graph_of(table: Artifact) -> str:
    return table.manifest.inputs.get("graph", "")


def _num_edges(graph: Artifact) -> int:
    return int(graph.facts.get("num_edges", 0))
