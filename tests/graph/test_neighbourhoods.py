"""The table of neighbours, against dictionaries and Python's integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import (
    Neighbourhoods,
    build_neighbourhoods,
    build_rows,
    newcomers_neighbourhoods,
)
from pinsage.graph.stage import write_neighbourhoods
from pinsage.graph.walks import visit_counts
from pinsage.store import Workspace

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]
SETTINGS = NeighbourhoodConfig(size=8, walks=40, length=3, restart=0.4)
SEED = 2018


def table_of(visits_of: Callable[[int], Counter[int]], num_items: int, size: int) -> Neighbourhoods:
    """The definition: the `size` most visited, ties by row, counts divided by their sum."""
    neighbors = np.full((num_items, size), -1, dtype=np.int32)
    weights = np.zeros((num_items, size), dtype=np.float32)
    for item in range(num_items):
        top = sorted(visits_of(item).items(), key=lambda pair: (-pair[1], pair[0]))[:size]
        for slot, (other, count) in enumerate(top):
            neighbors[item, slot] = other
            weights[item, slot] = count / sum(c for _, c in top)
    return Neighbourhoods(neighbors, weights)


def assert_same(left: Neighbourhoods, right: Neighbourhoods) -> None:
    np.testing.assert_array_equal(left.neighbors, right.neighbors)
    np.testing.assert_array_equal(left.weights, right.weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_table_equals_the_reference_at_any_number_of_threads(
    town: BipartiteGraph,
    reference_visits: ReferenceVisits,
    numba_threads: Callable[[int], None],
    threads: int,
) -> None:
    numba_threads(threads)
    expected = table_of(lambda item: reference_visits(town, item, SETTINGS, SEED), 150, 8)
    assert_same(build_neighbourhoods(town, SETTINGS, SEED), expected)


@few(max_examples=40, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=24),
    size=st.integers(1, 9),
    length=st.integers(1, 4),
    restart=st.sampled_from([0.0, 0.3, 0.9]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_table_is_the_top_of_the_visit_counts(
    edges: list[tuple[int, int]], size: int, length: int, restart: float, seed: int
) -> None:
    rows = np.array(edges, dtype=np.int32).reshape(-1, 2)
    graph = BipartiteGraph.from_edges(rows[:, 0], rows[:, 1], num_items=8, num_contexts=5)
    chosen = NeighbourhoodConfig(size=size, walks=7, length=length, restart=restart)
    counts = visit_counts(
        graph, np.arange(8, dtype=np.int32), walks=7, length=length, restart=restart, seed=seed
    )
    expected = table_of(lambda u: Counter(dict(enumerate(counts[u].tolist()))) + Counter(), 8, size)
    assert_same(build_neighbourhoods(graph, chosen, seed), expected)


def test_weights_sum_to_one_and_padding_to_zero(town: BipartiteGraph) -> None:
    table = build_neighbourhoods(town, SETTINGS, SEED)
    is_empty = (table.neighbors < 0).all(axis=1)
    np.testing.assert_allclose(table.weights.sum(axis=1), 1.0 - is_empty, atol=1e-6)
    assert not table.weights[table.neighbors < 0].any()
    assert (table.weights[table.neighbors >= 0] > 0).all()


def test_items_without_others_in_their_contexts_have_only_padding(town: BipartiteGraph) -> None:
    table = build_neighbourhoods(town, SETTINGS, SEED)
    assert table.neighbors[148:].tolist() == [[-1] * 8] * 2  # alone in its context; isolated


def test_no_item_is_its_own_neighbour_or_named_twice(town: BipartiteGraph) -> None:
    neighbors = build_neighbourhoods(town, SETTINGS, SEED).neighbors
    assert not (neighbors == np.arange(150)[:, None]).any()
    for row in neighbors:
        assert len(set(row[row >= 0].tolist())) == (row >= 0).sum()


def test_neighbours_fall_in_weight_and_ties_rise_in_row(town: BipartiteGraph) -> None:
    table = build_neighbourhoods(town, SETTINGS, SEED)
    ties = 0
    for row, weight in zip(table.neighbors, table.weights, strict=True):
        known = row >= 0
        order = list(zip((-weight[known]).tolist(), row[known].tolist(), strict=True))
        assert order == sorted(order)
        ties += len(order) - len({key for key, _ in order})
    assert ties > 100


def test_a_smaller_table_is_the_beginning_of_a_larger(town: BipartiteGraph) -> None:
    small = build_neighbourhoods(town, SETTINGS.model_copy(update={"size": 3}), SEED)
    large = build_neighbourhoods(town, SETTINGS, SEED)
    np.testing.assert_array_equal(small.neighbors, large.neighbors[:, :3])


def test_a_range_of_rows_is_that_part_of_the_table(town: BipartiteGraph) -> None:
    table = build_neighbourhoods(town, SETTINGS, SEED)
    for first, last in [(0, 0), (0, 1), (63, 130), (149, 150)]:
        part = Neighbourhoods(*build_rows(town, SETTINGS, SEED, first, last))
        here = slice(first, last)
        assert_same(part, Neighbourhoods(table.neighbors[here], table.weights[here]))


def test_another_seed_gives_another_table(town: BipartiteGraph) -> None:
    first = build_neighbourhoods(town, SETTINGS, SEED).neighbors
    second = build_neighbourhoods(town, SETTINGS, SEED + 1).neighbors
    assert (first != second).any(axis=1).sum() > 100


def test_a_disconnected_newcomer_changes_nobody_elses_row(town: BipartiteGraph) -> None:
    edges = np.repeat(np.arange(150, dtype=np.int32), town.item_degree)
    grown = BipartiteGraph.from_edges(
        np.append(edges, np.int32(150)),
        np.append(town.item_indices, np.int32(60)),
        num_items=152,
        num_contexts=62,
    )
    before = build_neighbourhoods(town, SETTINGS, SEED)
    after = build_neighbourhoods(grown, SETTINGS, SEED)
    assert_same(before, Neighbourhoods(after.neighbors[:150], after.weights[:150]))
    assert (after.neighbors[150:] == -1).all()


def test_an_empty_graph_gives_padding_alone() -> None:
    none = np.zeros(0, dtype=np.int32)
    graph = BipartiteGraph.from_edges(none, none, num_items=3, num_contexts=0)
    table = build_neighbourhoods(graph, SETTINGS, SEED)
    assert table.neighbors.tolist() == [[-1] * 8] * 3
    assert not table.weights.any()


def test_the_stage_writes_what_opens_again(town: BipartiteGraph, tmp_path: Path) -> None:
    graph, out, scratch = (tmp_path / name for name in ("graph", "out", "scratch"))
    for folder in (graph, out, scratch):
        folder.mkdir()
    town.save(graph)
    facts = write_neighbourhoods(graph, SETTINGS, SEED, Workspace(out, scratch, "key"))
    table = Neighbourhoods.open(out)
    assert_same(table, build_neighbourhoods(town, SETTINGS, SEED))
    assert (table.num_items, table.size) == (150, 8)
    assert facts["num_items"] == 150
    assert (facts["num_walked"], facts["num_kept"], facts["kept_from"]) == (150, 0, "")
    assert facts["num_without_neighbours"] == (table.neighbors[:, 0] < 0).sum()
    assert facts["mean_neighbours"] == pytest.approx((table.neighbors >= 0).sum() / 150)


def test_arrays_of_different_shape_are_refused() -> None:
    neighbors = np.zeros((3, 2), dtype=np.int32)
    weights = np.zeros((3, 4), dtype=np.float32)
    with pytest.raises(GraphError, match=r"got \(3, 2\) and \(3, 4\)\); rebuild"):
        Neighbourhoods(neighbors, weights)


def grown_by(graph: BipartiteGraph, contexts: list[int]) -> BipartiteGraph:
    """The graph with one item more, built from its edges."""
    items = np.repeat(np.arange(graph.num_items, dtype=np.int32), graph.item_degree)
    own = np.array(contexts, dtype=np.int32)
    return BipartiteGraph.from_edges(
        np.append(items, np.full_like(own, graph.num_items)),
        np.append(graph.item_indices, own),
        num_items=graph.num_items + 1,
        num_contexts=graph.num_contexts,
    )


# With the hub's context; of an item alone in its context; of one context without an item.
@pytest.mark.parametrize("contexts", [[3, 17, 40], [58], [59], [0], list(range(60))])
def test_a_newcomers_row_is_that_of_the_graph_built_with_it(
    town: BipartiteGraph, contexts: list[int]
) -> None:
    rows = np.array(contexts[::-1], dtype=np.int32)
    found = newcomers_neighbourhoods(town, [rows], SETTINGS, SEED)
    whole = build_neighbourhoods(grown_by(town, contexts), SETTINGS, SEED)
    assert_same(found, Neighbourhoods(whole.neighbors[150:], whole.weights[150:]))


def test_a_newcomers_row_does_not_depend_on_the_others(town: BipartiteGraph) -> None:
    contexts = [np.array(rows, dtype=np.int32) for rows in ([1, 2], [], [2, 1, 2], [30])]
    together = newcomers_neighbourhoods(town, contexts, SETTINGS, SEED)
    for at, rows in enumerate(contexts):
        alone = newcomers_neighbourhoods(town, [rows], SETTINGS, SEED)
        assert together.neighbors[at].tolist() == alone.neighbors[0].tolist()
    assert together.neighbors[1].tolist() == [-1] * 8
    assert together.neighbors[0].tolist() == together.neighbors[2].tolist()


def test_contexts_that_the_graph_has_not_are_refused(town: BipartiteGraph) -> None:
    with pytest.raises(GraphError, match=r"in \[0, 60\) \(got 4 to 60\)"):
        newcomers_neighbourhoods(town, [np.array([4, 60], dtype=np.int32)], SETTINGS, SEED)
    assert newcomers_neighbourhoods(town, [], SETTINGS, SEED).neighbors.shape == (0, 8)
