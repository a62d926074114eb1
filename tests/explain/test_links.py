"""Links between two items of a graph that is checked by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pinsage.config import NeighbourhoodConfig
from pinsage.explain.links import (
    common_neighbours,
    newest_contexts,
    shared_contexts,
    two_step_paths,
    visits,
)
from pinsage.explain.parts import SharedContext, Standing
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods


def test_two_of_three_users_each_out_of_four_are_below_chance(six: BipartiteGraph) -> None:
    found = shared_contexts(six, 0, 1)
    assert (found.shared, found.query, found.item, found.everyone) == (2, 3, 3, 4)
    assert found.expected == 3 * 3 / 4
    assert found.lift == pytest.approx(2 / 2.25)
    assert found.cosine == pytest.approx(2 / 3)


def test_item_knn_ranks_by_cosine_either_way(six: BipartiteGraph) -> None:
    # From 0: item 2 has 2/√6, item 1 has 2/3, item 4 has 1/√3. From 1: item 0 is the first.
    standing = shared_contexts(six, 0, 1).standing
    assert standing.forward == Standing(rank=2.0, beats=3 / 4)
    assert standing.backward == Standing(rank=1.0, beats=1.0)


def test_items_that_share_no_user_stand_tied_in_the_middle(six: BipartiteGraph) -> None:
    # From 0, items 3 and 5 both have cosine 0: places 4 and 5 of 5.
    found = shared_contexts(six, 0, 3)
    assert found.shared == 0
    assert found.lift == 0
    assert found.standing.forward == Standing(rank=4.5, beats=0.5 / 4)


def test_an_item_without_users_has_no_lift(six: BipartiteGraph) -> None:
    found = shared_contexts(six, 0, 5)
    assert (found.expected, found.lift, found.cosine) == (0.0, None, 0.0)


def test_two_items_are_each_others_first() -> None:
    edges = np.array([0, 1], dtype=np.int32)
    graph = BipartiteGraph.from_edges(edges, edges * 0, num_items=2, num_contexts=1)
    assert shared_contexts(graph, 0, 1).standing.forward == Standing(1.0, 1.0)


def test_paths_multiply_the_weights_and_come_heaviest_first(
    table: Neighbourhoods, titles: pd.DataFrame
) -> None:
    # 4 → 0 → 1 weighs .5 · .3, 4 → 2 → 1 weighs .5 · .25
    found = two_step_paths(table, 4, 1, titles, count=5)
    assert [path.via.item_id for path in found.top] == ["p", "r"]
    assert [path.weight for path in found.top] == pytest.approx([0.15, 0.125])
    assert [(path.first, path.second) for path in found.top] == [
        (0.5, pytest.approx(0.3)),
        (0.5, 0.25),
    ]
    assert found.number == 2
    assert found.weight == pytest.approx(0.275)


def test_a_path_has_a_direction(table: Neighbourhoods, titles: pd.DataFrame) -> None:
    assert two_step_paths(table, 0, 3, titles, count=5).weight == pytest.approx(0.3 * 0.3)
    assert two_step_paths(table, 3, 0, titles, count=5).weight == pytest.approx(1.0 * 0.6)


def test_the_count_bounds_what_is_shown_and_not_what_is_counted(
    table: Neighbourhoods, titles: pd.DataFrame
) -> None:
    found = two_step_paths(table, 4, 1, titles, count=1)
    assert len(found.top) == 1
    assert found.number == 2


def test_no_path_leads_to_an_item_that_nobody_neighbours(
    table: Neighbourhoods, titles: pd.DataFrame
) -> None:
    for start, end in ((0, 5), (5, 0)):
        found = two_step_paths(table, start, end, titles, count=5)
        assert (found.number, found.weight, found.top) == (0, 0.0, ())


def test_common_neighbours_weigh_what_the_smaller_weight_is(
    table: Neighbourhoods, titles: pd.DataFrame
) -> None:
    # 2 → 0 .75, 1 .25 and 4 → 0 .5, 2 .5 have item 0 in common
    found = common_neighbours(table, 2, 4, titles, count=5)
    assert [(each.item.title, each.query_weight, each.item_weight) for each in found.top] == [
        ("Film 0", 0.75, 0.5)
    ]
    assert (found.number, found.overlap) == (1, 0.5)


def test_an_item_without_neighbours_has_none_in_common(
    table: Neighbourhoods, titles: pd.DataFrame
) -> None:
    assert common_neighbours(table, 0, 5, titles, count=5).number == 0


def test_walks_made_anew_agree_with_the_stored_table(six: BipartiteGraph) -> None:
    walks = NeighbourhoodConfig(size=3, walks=50, length=3, restart=0.3)
    stored = build_neighbourhoods(six, walks, seed=9)
    for query in range(6):
        seen = {
            item: visits(six, stored, walks, 9, query, item).forward
            for item in range(6)
            if item != query
        }
        kept = [each.visits for each in seen.values() if each.place is not None]
        for item, each in seen.items():
            assert each.of == sum(other.visits for other in seen.values())
            if each.place is None:
                assert each.weight == 0
                assert each.visits <= min(kept, default=0)
            else:
                assert stored.neighbors[query, each.place - 1] == item
                assert each.weight == pytest.approx(each.visits / sum(kept))


def test_every_visit_is_to_the_only_other_item() -> None:
    edges = np.array([0, 1], dtype=np.int32)
    graph = BipartiteGraph.from_edges(edges, edges * 0, num_items=2, num_contexts=1)
    walks = NeighbourhoodConfig(size=2, walks=100, length=2, restart=0.5)
    both = visits(graph, build_neighbourhoods(graph, walks, 1), walks, 1, 0, 1)
    assert both.forward.visits == both.forward.of > 0
    assert (both.backward.place, both.backward.weight) == (1, 1.0)


def test_neighbours_of_an_item_without_users_are_by_content(
    six: BipartiteGraph, table: Neighbourhoods
) -> None:
    walks = NeighbourhoodConfig(size=3, walks=50)
    alone = visits(six, table, walks, 9, 5, 1)
    assert not alone.forward.by_content  # it has no neighbour at all
    neighbors, weights = table.neighbors.copy(), table.weights.copy()
    neighbors[5], weights[5] = [1, 3, -1], [0.75, 0.25, 0]
    both = visits(six, Neighbourhoods(neighbors, weights), walks, 9, 5, 3)
    assert (both.forward.place, both.forward.weight, both.forward.of) == (2, 0.25, 0)
    assert both.forward.by_content
    assert not both.backward.by_content


class TestNewestContexts:
    @pytest.fixture
    def ingested(self, tmp_path: Path) -> Path:
        second = 1_000_000
        rows = [  # user, item, seconds: u1 came last to have both, u3 first; u2 has one alone
            (0, 0, 1), (0, 1, 2), (1, 1, 3), (2, 0, 4), (3, 0, 0), (3, 1, 1), (1, 0, 9), (1, 0, 5),
        ]  # fmt: skip
        users, items, times = (list(column) for column in zip(*rows, strict=True))
        frame = pd.DataFrame({"user_row": users, "item_row": items})
        frame.assign(timestamp=[at * second for at in times]).to_parquet(
            tmp_path / "interactions.parquet"
        )
        pd.DataFrame({"user_id": [f"u{row}" for row in range(4)]}).to_parquet(
            tmp_path / "users.parquet"
        )
        return tmp_path

    def test_come_with_the_last_time_of_each_item(self, ingested: Path) -> None:
        assert newest_contexts(ingested, 0, 1, count=1) == (
            SharedContext("u1", "1970-01-01T00:00:09+00:00", "1970-01-01T00:00:03+00:00"),
        )

    def test_come_by_the_time_at_which_they_had_both(self, ingested: Path) -> None:
        found = newest_contexts(ingested, 1, 0, count=9)
        assert [each.user_id for each in found] == ["u1", "u0", "u3"]

    def test_none_are_read_unless_asked_for(self, tmp_path: Path) -> None:
        assert newest_contexts(tmp_path / "nowhere", 0, 1, count=0) == ()
