"""Neighbour lists against a sort of all scores, with and without a champion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.evaluation.baselines import ItemKNNScorer
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.model.query import QueryMap
from pinsage.report.catalog import Catalog
from pinsage.report.images import Pictures
from pinsage.report.neighbours import QueryCard, Sources, best, query_cards

if TYPE_CHECKING:
    from tests.report.conftest import WriteVersion

IDS = ("a", "b", "c", "d", "e")
VECTORS = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float32)


@pytest.fixture(scope="module")
def graph() -> BipartiteGraph:
    """a and b share two contexts, a and c one; d and e stand alone, e with no context at all."""
    items, users = [0, 0, 1, 1, 2, 3], [0, 1, 0, 1, 1, 2]
    return BipartiteGraph.from_edges(
        np.array(items, dtype=np.int32), np.array(users, dtype=np.int32),
        num_items=5, num_contexts=3,
    )  # fmt: skip


def cards(graph: BipartiteGraph, champion: Path | None, most: int = 2) -> tuple[QueryCard, ...]:
    titles = tuple(f"Title {name}" for name in IDS)
    catalog = Catalog(IDS, titles, None, (), ())
    sources = Sources.open(VECTORS, QueryMap(), graph, [], champion)
    return query_cards([0, 4], sources, catalog, Pictures(Path()), most)


def titles(card: QueryCard, number: int) -> list[str]:
    return [entry.item.title for entry in card.lists[number].entries]


def test_the_first_night_has_two_lists_and_nothing_shared(graph: BipartiteGraph) -> None:
    card, lonely = cards(graph, None)
    assert [each.source for each in card.lists] == ["Challenger", "item-kNN"]
    assert titles(card, 0) == ["Title b", "Title e"]
    assert [entry.score for entry in card.lists[0].entries] == pytest.approx([0.8, 0.6])
    assert titles(card, 1) == ["Title b", "Title c"]
    assert (card.shared, card.degree, card.popularity_rank) == (None, 2, 1)
    assert lonely.lists[1].entries == ()
    assert lonely.lists[1].note == "No item shares a context with it."
    assert (lonely.degree, lonely.popularity_rank) == (0, 5)


def test_item_knn_is_the_scorer_with_the_setting_that_was_chosen(graph: BipartiteGraph) -> None:
    trials = [
        {"baseline": "item-kNN", "settings": {"shrink": 5.0}, "hit_rate": 0.1, "chosen": False},
        {"baseline": "item-kNN", "settings": {"shrink": 1.0}, "hit_rate": 0.2, "chosen": True},
    ]
    assert Sources.open(VECTORS, QueryMap(), graph, trials, None).counted.shrink == 1.0
    card = cards(graph, None)[0]
    expected = ItemKNNScorer(graph, 20.0).score(np.array([0], dtype=np.int32))[0]
    assert card.lists[1].entries[0].score == pytest.approx(expected[1])


def test_what_champion_and_challenger_share_is_marked(
    graph: BipartiteGraph, tmp_path: Path, write_version: WriteVersion
) -> None:
    # In the champion the query's neighbours are b and an item that is gone by now.
    ids, vectors = ["gone", "b", "a"], np.array([[0.9, 0.1], [1, 0.5], [1, 0]], dtype=np.float32)
    champion = write_version(tmp_path / "v1", ids, ["Left since", "Was b", "Was a"], vectors)
    card, new = cards(graph, champion)
    assert [each.source for each in card.lists] == ["Champion", "Challenger", "item-kNN"]
    assert titles(card, 0) == ["Title b", "Left since"]  # as it is called now, and as it was
    assert [entry.shared for entry in card.lists[0].entries] == [True, False]
    assert [entry.shared for entry in card.lists[1].entries] == [True, False]
    assert card.shared == 1
    assert new.lists[0].note == "The champion does not know this item: it is new."
    assert new.shared is None


def test_champion_ids_of_another_type_are_found(
    graph: BipartiteGraph, tmp_path: Path, write_version: WriteVersion
) -> None:
    vectors = np.array([[1, 0], [0, 1]], dtype=np.float32)
    champion = write_version(tmp_path / "v1", [1, 2], ["One", "Two"], vectors)
    catalog = Catalog(("2", "1", "x", "y", "z"), ("Two", "One", "x", "y", "z"), None, (), ())
    sources = Sources.open(VECTORS, QueryMap(), graph, [], champion)
    (card,) = query_cards([1], sources, catalog, Pictures(Path()), 1)
    assert titles(card, 0) == ["Two"]


@given(st.lists(st.sampled_from([0.0, 0.5, 0.25, -1.0]), min_size=2, max_size=30), st.data())
def test_the_best_are_those_of_a_stable_sort_without_the_query(
    values: list[float], data: Any
) -> None:
    scores: npt.NDArray[np.float32] = np.array(values, dtype=np.float32)
    own = data.draw(st.integers(0, len(values) - 1))
    most = data.draw(st.integers(1, 12))
    others = [row for row in range(len(values)) if row != own]
    expected = sorted(others, key=lambda row: -values[row])[:most]
    assert best(scores, own, most) == expected
