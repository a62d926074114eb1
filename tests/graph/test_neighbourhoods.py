"""The table of neighbours, against dictionaries and Python's integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as few
from hypothesis import strategies as st

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import (
    Neighbourhoods,
    build_neighbourhoods,
    neighbourhoods_of,
    newcomers_neighbourhoods,
)
from pinsage.graph.stage import write_neighbourhoods
from pinsage.store import Workspace

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]
WithWeights = Callable[[BipartiteGraph, npt.NDArray[np.int64]], BipartiteGraph]
SETTINGS = NeighbourhoodConfig(size=8, walks=40, length=3, restart=0.4)
SEED = 2018
ALL = np.arange(10, dtype=np.int32)


def table_of(visits_of: Callable[[int], Counter[int]], num_items: int, size: int) -> Neighbourhoods:
    """The definition: the `size` most visited, ties by first visit, counts divided by their sum."""
    neighbors = np.full((num_items, size), -1, dtype=np.int32)
    weights = np.zeros((num_items, size), dtype=np.float32)
    for item in range(num_items):
        top = visits_of(item).most_common()[:size]  # equal counts as they were first met
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


@st.composite
def graphs(draw: st.DrawFn, with_weights: WithWeights) -> BipartiteGraph:
    """Some items and contexts isolated, maybe one context of all; weighted edges or not."""
    edges = draw(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=24))
    hub = draw(st.booleans())
    rows = np.array([*edges, *((item, 5) for item in range(9) if hub)], dtype=np.int32)
    rows = rows.reshape(-1, 2)
    graph = BipartiteGraph.from_edges(rows[:, 0], rows[:, 1], num_items=10, num_contexts=6)
    if draw(st.booleans()):
        counts = st.lists(
            st.sampled_from([1, 2, 7, 10**6]), min_size=graph.num_edges, max_size=graph.num_edges
        )
        graph = with_weights(graph, np.array(draw(counts), dtype=np.int64))
    return graph


@few(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    size=st.integers(1, 12),
    walks=st.one_of(st.integers(1, 20), st.integers(60, 300)),
    length=st.integers(1, 5),
    restart=st.sampled_from([0.0, 0.3, 0.9]),
    stop_when_stable=st.sampled_from([0, 0, 1, 5, 30]),
    threads=st.sampled_from([1, 2, 5]),
    seed=st.integers(0, 2**31 - 1),
)
def test_the_table_equals_the_reference(
    reference_visits: ReferenceVisits,
    with_weights: WithWeights,
    data: st.DataObject,
    threads: int,
    seed: int,
    **chosen: Any,
) -> None:
    graph = data.draw(graphs(with_weights))
    settings = NeighbourhoodConfig(**chosen)
    expected = table_of(
        lambda item: reference_visits(graph, item, settings, seed), 10, settings.size
    )
    assert_same(neighbourhoods_of(ALL, graph, settings, seed, threads), expected)


@pytest.mark.parametrize("stable", [0, 3])
def test_weighted_walks_give_the_reference_at_any_number_of_threads(
    town: BipartiteGraph,
    reference_visits: ReferenceVisits,
    with_weights: WithWeights,
    stable: int,
) -> None:
    graph = with_weights(town, np.random.default_rng(2).integers(1, 50, town.num_edges))
    settings = SETTINGS.model_copy(update={"walks": 200, "stop_when_stable": stable})
    every = np.arange(150, dtype=np.int32)
    expected = table_of(lambda item: reference_visits(graph, item, settings, SEED), 150, 8)
    for threads in (1, 2, 7):
        assert_same(neighbourhoods_of(every, graph, settings, SEED, threads), expected)


def test_some_items_have_the_rows_of_the_whole_table(town: BipartiteGraph) -> None:
    rows = np.array([149, 3, 77, 3], dtype=np.int32)
    some, whole = (
        neighbourhoods_of(rows, town, SETTINGS, SEED),
        build_neighbourhoods(town, SETTINGS, SEED),
    )
    assert_same(some, Neighbourhoods(whole.neighbors[rows], whole.weights[rows]))


@pytest.mark.parametrize("row", [-1, 150])
def test_items_that_the_graph_has_not_are_refused(town: BipartiteGraph, row: int) -> None:
    rows = np.array([3, row], dtype=np.int32)
    with pytest.raises(GraphError, match=r"walk from must lie in \[0, 150\)"):
        neighbourhoods_of(rows, town, SETTINGS, SEED)


def test_walks_that_stop_early_are_fewer_and_as_many_as_asked_for(town: BipartiteGraph) -> None:
    #  500 walks: after 64, 128 or 256 of them some items' 8 neighbours have 10 visits each
    settings = SETTINGS.model_copy(update={"walks": 500})
    early = build_neighbourhoods(town, settings.model_copy(update={"stop_when_stable": 10}), SEED)
    equal_to = {}
    for walks in (64, 128, 256, 500):
        other = build_neighbourhoods(town, settings.model_copy(update={"walks": walks}), SEED)
        equal_to[walks] = (early.weights == other.weights).all(axis=1) & (
            early.neighbors == other.neighbors
        ).all(axis=1)
    assert np.logical_or.reduce(list(equal_to.values())).all()
    assert all(rows.sum() > 10 for rows in (equal_to[128], equal_to[256], equal_to[500]))


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


def test_equal_counts_favour_neither_small_nor_large_rows(town: BipartiteGraph) -> None:
    table = build_neighbourhoods(town, SETTINGS, SEED)
    tied = (table.weights[:, 1:] == table.weights[:, :-1]) & (table.weights[:, 1:] > 0)
    rising = (table.neighbors[:, 1:] > table.neighbors[:, :-1])[tied]
    assert (np.diff(table.weights) <= 0).all()
    assert tied.sum() > 100
    assert abs(rising.mean() - 0.5) < 0.1


def test_a_smaller_table_is_the_beginning_of_a_larger(town: BipartiteGraph) -> None:
    small = build_neighbourhoods(town, SETTINGS.model_copy(update={"size": 3}), SEED)
    large = build_neighbourhoods(town, SETTINGS, SEED)
    np.testing.assert_array_equal(small.neighbors, large.neighbors[:, :3])


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
@pytest.mark.parametrize("changes", [{}, {"walks": 300, "stop_when_stable": 9}])
def test_a_newcomers_row_is_that_of_the_graph_built_with_it(
    town: BipartiteGraph, contexts: list[int], changes: dict[str, int]
) -> None:
    settings = SETTINGS.model_copy(update=changes)
    rows = np.array(contexts[::-1], dtype=np.int32)
    found = newcomers_neighbourhoods(town, [rows], settings, SEED)
    whole = build_neighbourhoods(grown_by(town, contexts), settings, SEED)
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


def test_a_newcomer_among_weighted_edges_weighs_what_they_do_on_average(
    with_weights: WithWeights,
) -> None:
    #  contexts 0 and 1 of items 0 (weights 3 and 2) and 1 (1 and 2): a newcomer would weigh 2
    items, contexts = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=np.int32)
    weights = np.array([3, 2, 1, 2])
    graph = with_weights(
        BipartiteGraph.from_edges(items, contexts, num_items=2, num_contexts=2), weights
    )
    settings = NeighbourhoodConfig(size=2, walks=100_000, length=1, restart=0.0)
    found = newcomers_neighbourhoods(graph, [np.array([0], dtype=np.int32)], settings, SEED)
    assert found.neighbors.tolist() == [[0, 1]]
    np.testing.assert_allclose(found.weights, [[3 / 4, 1 / 4]], atol=0.01)
