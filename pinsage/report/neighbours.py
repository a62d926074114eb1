"""Neighbour lists of a few queries, side by side: champion, challenger, item-kNN.

All three are exact: inner products with every item, and counted co-occurrence with every item.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.baselines import ItemKNNScorer
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.model.query import QueryMap
from pinsage.report.catalog import TITLE_WIDTH, Catalog
from pinsage.report.cosines import Vectors
from pinsage.report.images import Pictures, web_address
from pinsage.report.text import one_line
from pinsage.retrieval.published import Published, open_version

CHAMPION, CHALLENGER, COUNTED = "Champion", "Challenger", "item-kNN"
_UNTUNED = {"shrink": 20.0}  # where item-kNN is not among the baselines

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shown:
    """An item as it is shown: `picture` is a number of `Pictures`, `link` a web address."""

    item_id: str
    title: str
    categories: tuple[str, ...] = ()
    picture: int | None = None
    link: str | None = None


Scored = tuple[Shown, float]


@dataclass(frozen=True)
class Neighbour:
    """An item of a list; `shared` says that champion and challenger both have it."""

    item: Shown
    score: float
    shared: bool = False


@dataclass(frozen=True)
class NeighbourList:
    """One source's list, best first; `note` says why it is empty."""

    source: str
    entries: tuple[Neighbour, ...]
    note: str = ""


@dataclass(frozen=True)
class QueryCard:
    """A query with its lists; `shared` is None without a champion that knows the query."""

    item: Shown
    degree: int
    popularity_rank: int
    lists: tuple[NeighbourList, ...]
    shared: int | None


@dataclass(frozen=True)
class Sources:
    """What neighbours come from.

    Attributes:
        vectors: float32 [N, d], the challenger
        query: from its vectors to what they search with
        graph: over which the vectors are computed
        counted: item-kNN over that graph, with the settings that were chosen
        champion: None the first time
    """

    vectors: Vectors
    query: QueryMap
    graph: BipartiteGraph
    counted: ItemKNNScorer
    champion: Published | None

    @classmethod
    def open(
        cls,
        vectors: Vectors,
        query: QueryMap,
        graph: BipartiteGraph,
        tuning: Sequence[Any],
        champion: Path | None,
    ) -> Sources:
        """`tuning` holds the evaluation's trials, of which item-kNN's chosen one is used."""
        chosen: list[dict[str, Any]] = [
            trial["settings"]
            for trial in tuning
            if trial["baseline"] == COUNTED and trial["chosen"]
        ]
        version = open_version(champion) if champion is not None else None
        counted = ItemKNNScorer(graph, **(chosen[0] if chosen else _UNTUNED))
        return cls(vectors, query, graph, counted, version)


def query_cards(
    rows: Sequence[int], sources: Sources, catalog: Catalog, pictures: Pictures, most: int
) -> tuple[QueryCard, ...]:
    """The cards of the queries in `rows`, with at most `most` neighbours a list."""
    if not rows:
        return ()
    queries = np.asarray(rows, dtype=np.int32)
    degree = sources.graph.item_degree
    order = np.argsort(-degree, kind="stable")
    rank = np.empty(len(degree), dtype=np.int64)
    rank[order] = np.arange(1, len(degree) + 1)
    challenger = sources.query(np.asarray(sources.vectors[queries])) @ np.asarray(sources.vectors).T
    knn = sources.counted.score(queries)
    show = _Shower(catalog, pictures)
    return tuple(
        _card(
            show, sources, catalog.ids, row, most, challenger[n], knn[n], int(degree[row]),
            int(rank[row]),
        )
        for n, row in enumerate(rows)
    )  # fmt: skip


def best(scores: Scores, own: int, most: int) -> list[int]:
    """Rows of the highest scores without the row `own`; of equal ones the smaller row."""
    masked = scores.astype(np.float64)
    if own >= 0:
        masked[own] = -np.inf
    size = min(most, len(scores) - (own >= 0))
    # All that tie with the last one are candidates, so that equals go by their row.
    limit = np.partition(masked, len(masked) - size)[len(masked) - size] if size else np.inf
    candidates = np.flatnonzero(masked >= limit)
    ordered = candidates[np.argsort(-masked[candidates], kind="stable")]
    return [int(row) for row in ordered[:size]]


class _Shower:
    """Makes what is shown of an item out of its row."""

    def __init__(self, catalog: Catalog, pictures: Pictures) -> None:
        self._catalog = catalog
        self._pictures = pictures
        self._row_of = {item_id: row for row, item_id in enumerate(catalog.ids)}

    def row(self, row: int) -> Shown:
        """An item of the catalog."""
        address = self._catalog.image(row)
        return Shown(
            item_id=one_line(self._catalog.ids[row], 60),
            title=self._catalog.title(row),
            categories=self._catalog.categories(row),
            picture=self._pictures.number(address),
            link=web_address(address),
        )

    def champion(self, version: Published, row: int) -> tuple[str, Shown]:
        """An item of an earlier catalog with its id: as it is now, or as it was called then."""
        item_id = str(version.items["item_id"].iloc[row])
        if item_id in self._row_of:
            return item_id, self.row(self._row_of[item_id])
        title = version.items["title"].iloc[row] or item_id
        return item_id, Shown(one_line(item_id, 60), one_line(title, TITLE_WIDTH))


def _card(
    show: _Shower, sources: Sources, ids: Sequence[str], row: int, most: int, scores: Scores,
    counts: Scores, degree: int, rank: int,
) -> QueryCard:  # fmt: skip
    found = {ids[n]: (show.row(n), float(scores[n])) for n in best(scores, row, most)}
    former, note = _former(show, sources.champion, ids[row], most)
    both = found.keys() & former.keys()
    counted = {ids[n]: (show.row(n), float(counts[n])) for n in best(counts, row, most)}
    counted = {key: value for key, value in counted.items() if value[1] > 0}
    lists = [_listed(CHALLENGER, found, both)]
    if sources.champion is not None:
        lists.insert(0, _listed(CHAMPION, former, both, note))
    nothing = "" if counted else "No item shares a context with it."
    lists.append(_listed(COUNTED, counted, set(), nothing))
    known = sources.champion is not None and not note
    return QueryCard(show.row(row), degree, rank, tuple(lists), len(both) if known else None)


def _former(
    show: _Shower, version: Published | None, item_id: str, most: int
) -> tuple[dict[str, Scored], str]:
    """The champion's list by id, or why it has none."""
    if version is None:
        return {}, ""
    own = np.flatnonzero(version.items["item_id"].astype(str).to_numpy() == item_id)
    if not len(own):
        return {}, "The champion does not know this item: it is new."
    scores = version.vectors @ version.query(version.vectors[own[0]])
    found: dict[str, Scored] = {}
    for row in best(scores, int(own[0]), most):
        key, item = show.champion(version, row)
        found[key] = (item, float(scores[row]))
    return found, ""


def _listed(source: str, found: dict[str, Scored], both: Set[str], note: str = "") -> NeighbourList:
    entries = (Neighbour(item, score, key in both) for key, (item, score) in found.items())
    return NeighbourList(source, tuple(entries), note)
