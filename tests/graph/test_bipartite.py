"""The two CSRs, against dictionaries of sets."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph

ARRAYS = ("item_indptr", "item_indices", "context_indptr", "context_indices")
Edges = list[tuple[int, int]]
edge_lists = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), max_size=40)


def build(edges: Edges, num_items: int = 7, num_contexts: int = 5) -> BipartiteGraph:
    rows = np.array(edges, dtype=np.int32).reshape(-1, 2)
    return BipartiteGraph.from_edges(
        rows[:, 0], rows[:, 1], num_items=num_items, num_contexts=num_contexts
    )


def rows_of(indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32]) -> list[list[int]]:
    return [indices[start:stop].tolist() for start, stop in pairwise(indptr)]


@settings(max_examples=50, deadline=None)
@given(edges=edge_lists)
def test_rows_are_the_sorted_distinct_neighbours(edges: Edges) -> None:
    graph = build(edges)
    assert rows_of(graph.item_indptr, graph.item_indices) == [
        sorted({c for i, c in edges if i == item}) for item in range(7)
    ]
    assert rows_of(graph.context_indptr, graph.context_indices) == [
        sorted({i for i, c in edges if c == context}) for context in range(5)
    ]


@settings(max_examples=50, deadline=None)
@given(edges=edge_lists, seed=st.integers(0, 9))
def test_the_order_of_the_edges_does_not_matter(edges: Edges, seed: int) -> None:
    shuffled = [edges[i] for i in np.random.default_rng(seed).permutation(len(edges))]
    first, second = build(edges), build(shuffled)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_counts_and_degrees_of_a_graph_one_can_draw() -> None:
    #  item 0 – contexts 0, 1;  item 1 – context 1, twice;  items 2 and context 2 are isolated
    graph = build([(0, 0), (0, 1), (1, 1), (1, 1)], num_items=3, num_contexts=3)
    assert (graph.num_items, graph.num_contexts, graph.num_edges) == (3, 3, 3)
    assert graph.item_degree.tolist() == [2, 1, 0]
    assert graph.item_indptr.tolist() == [0, 2, 3, 3]
    assert graph.item_indices.tolist() == [0, 1, 1]
    assert graph.context_indptr.tolist() == [0, 1, 3, 3]
    assert graph.context_indices.tolist() == [0, 0, 1]


def test_dtypes_are_those_of_the_format() -> None:
    graph = build([(0, 0)])
    assert [getattr(graph, name).dtype for name in ARRAYS] == [np.int64, np.int32] * 2


def test_edges_are_packed_in_64_bits() -> None:
    graph = build([(69_999, 69_999), (30_000, 12_345)], num_items=70_000, num_contexts=70_000)
    assert graph.item_indices.tolist() == [12_345, 69_999]
    assert graph.context_indices.tolist() == [30_000, 69_999]


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ((7, 0), r"item rows must lie in \[0, 7\) \(got 0 to 7\)"),
        ((-1, 0), r"item rows must lie in \[0, 7\) \(got -1 to 0\)"),
        ((0, 5), r"context rows must lie in \[0, 5\) \(got 0 to 5\)"),
    ],
)
def test_a_row_out_of_range_is_named(edge: tuple[int, int], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        build([(0, 0), edge])


@pytest.mark.parametrize("field", ["item_indptr", "context_indptr"])
def test_an_indptr_that_does_not_fit_its_indices_is_refused(field: str) -> None:
    graph = build([(0, 0), (6, 4)])
    with pytest.raises(GraphError, match=f"{field} must run from 0 to 2.*rebuild the graph"):
        dataclasses.replace(graph, **{field: getattr(graph, field)[:-1]})


@pytest.mark.parametrize("edges", [[], [(0, 0), (3, 2), (3, 1)]])
def test_a_saved_graph_opens_equal_and_memory_mapped(tmp_path: Path, edges: Edges) -> None:
    graph = build(edges)
    graph.save(tmp_path)
    opened = BipartiteGraph.open(tmp_path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(opened, name), getattr(graph, name))
        assert isinstance(getattr(opened, name), np.memmap)
