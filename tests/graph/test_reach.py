"""Items to walk again: found by brute force on small graphs, and enough for the very same table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods, walker
from pinsage.graph.previous import KeptRows, Previous
from pinsage.graph.reach import Reach

Edges = set[tuple[int, int]]
Node = tuple[str, int]


def graph_of(edges: Edges, num_items: int, num_contexts: int) -> BipartiteGraph:
    rows = np.array(sorted(edges), dtype=np.int32).reshape(-1, 2)
    return BipartiteGraph.from_edges(
        rows[:, 0], rows[:, 1], num_items=num_items, num_contexts=num_contexts
    )


def rows_of(graph: BipartiteGraph) -> dict[Node, list[int]]:
    items = np.split(graph.item_indices, graph.item_indptr[1:-1])
    contexts = np.split(graph.context_indices, graph.context_indptr[1:-1])
    return {
        **{("item", row): items[row].tolist() for row in range(graph.num_items)},
        **{("context", row): contexts[row].tolist() for row in range(graph.num_contexts)},
    }


def reads(rows: dict[Node, list[int]], start: Node, length: int) -> set[Node]:
    """Every row that a walk from an item may read, by following all of its ways."""
    level, found = {start}, {start}
    for step in range(2 * length - 1):
        kind = "context" if step % 2 == 0 else "item"
        level = {(kind, other) for node in level for other in rows[node]}
        found |= level
    return found


def by_brute_force(old: BipartiteGraph, new: BipartiteGraph, length: int) -> list[bool]:
    before, after = rows_of(old), rows_of(new)
    changed = {node for node in before if after.get(node) != before[node]}
    return [
        item >= old.num_items or bool(reads(before, ("item", item), length) & changed)
        for item in range(new.num_items)
    ]


@st.composite
def nights(draw: st.DrawFn) -> tuple[BipartiteGraph, BipartiteGraph]:
    """A graph and what a night made of it: rows and edges more or fewer, or rows renumbered."""
    items, contexts = draw(st.integers(1, 12)), draw(st.integers(1, 10))
    some = st.tuples(st.integers(0, items - 1), st.integers(0, contexts - 1))
    edges: Edges = draw(st.sets(some, max_size=16))
    old = graph_of(edges, items, contexts)
    more_items = max(1, items + draw(st.integers(-2, 3)))
    more_contexts = max(1, contexts + draw(st.integers(-2, 3)))
    any_of_new = st.tuples(st.integers(0, more_items - 1), st.integers(0, more_contexts - 1))
    gone = draw(st.sets(st.sampled_from(sorted(edges)), max_size=2)) if edges else set()
    changed = (edges - gone) | draw(st.sets(any_of_new, max_size=2))
    changed = {(i, c) for i, c in changed if i < more_items and c < more_contexts}
    if draw(st.booleans()) and draw(st.booleans()):
        order = draw(st.permutations(range(more_items)))
        changed = {(order[i], c) for i, c in changed}
    return old, graph_of(changed, more_items, more_contexts)


@few(max_examples=200, deadline=None)
@given(nights(), st.integers(1, 4))
def test_reach_is_that_of_every_way_followed(
    pair: tuple[BipartiteGraph, BipartiteGraph], length: int
) -> None:
    old, new = pair
    assert Reach.between(old, new, length).items.tolist() == by_brute_force(old, new, length)


@few(max_examples=100, deadline=None)
@given(
    nights(),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.4]),
    st.integers(1, 6),
    st.integers(0, 2**31 - 1),
)
def test_kept_and_walked_rows_are_those_of_a_full_build(
    pair: tuple[BipartiteGraph, BipartiteGraph], length: int, restart: float, size: int, seed: int
) -> None:
    old, new = pair
    settings = NeighbourhoodConfig(size=size, walks=12, length=length, restart=restart)
    kept = KeptRows(Previous("key", old, build_neighbourhoods(old, settings, seed)), new, length)
    walk = walker(new, settings, seed)
    blocks = np.array_split(np.arange(new.num_items, dtype=np.int32), 3)
    parts = [kept.rows(block, walk(kept.to_walk(block))) for block in blocks]
    whole = build_neighbourhoods(new, settings, seed)
    np.testing.assert_array_equal(np.concatenate([rows[0] for rows in parts]), whole.neighbors)
    np.testing.assert_array_equal(
        np.concatenate([rows[1] for rows in parts]).view(np.int32), whole.weights.view(np.int32)
    )
    asked = np.concatenate([kept.to_walk(block) for block in blocks])
    assert asked.tolist() == np.flatnonzero(Reach.between(old, new, length).items).tolist()


# 0 – a – 1 – b – 2 – c – 3 – d – 4: one hop a letter
CHAIN = {(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (4, 3)}


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [False, False, False, True, True]),  # d is read from 3 and 4
        (2, [False, False, True, True, True]),
        (3, [False, True, True, True, True]),
        (4, [True] * 5),
    ],
)
def test_a_walk_reads_the_context_of_its_last_hop(length: int, expected: list[bool]) -> None:
    old, new = graph_of(CHAIN, 5, 4), graph_of({*CHAIN, (5, 3)}, 6, 4)
    reach = Reach.between(old, new, length)
    assert reach.items.tolist() == [*expected, True]
    assert (reach.num_changed_items, reach.num_changed_contexts) == (0, 1)


def test_the_item_that_the_last_hop_ends_at_is_not_read() -> None:
    old, new = graph_of(CHAIN, 5, 4), graph_of({*CHAIN, (4, 4)}, 5, 5)
    assert Reach.between(old, new, 1).items.tolist() == [False, False, False, False, True]
    assert Reach.between(old, new, 2).items.tolist() == [False, False, False, True, True]


def test_new_items_that_nobody_has_taken_change_nothing() -> None:
    old, new = graph_of(CHAIN, 5, 4), graph_of(CHAIN, 9, 6)
    assert Reach.between(old, new, 100).items.tolist() == [False] * 5 + [True] * 4


def test_an_edge_weight_is_part_of_a_row() -> None:
    old = graph_of({(0, 0), (1, 0), (2, 1), (3, 1)}, 4, 2)
    item = np.full(4, 2**32 - 1, dtype=np.uint32)
    context = np.array([7, 2**32 - 1] * 2, dtype=np.uint32)
    weighted = replace(old, item_thresholds=item, context_thresholds=context)
    other = replace(weighted, context_thresholds=context + np.array([0, 0, 1, 0], dtype=np.uint32))
    assert Reach.between(weighted, weighted, 3).items.tolist() == [False] * 4
    assert Reach.between(weighted, other, 3).items.tolist() == [False, False, True, True]
    assert Reach.between(old, weighted, 3).items.tolist() == [True] * 4


def test_rows_that_stand_ins_had_are_empty_again() -> None:
    graph = graph_of({(0, 0), (1, 0)}, 3, 1)
    settings = NeighbourhoodConfig(size=2, walks=5)
    walked = build_neighbourhoods(graph, settings, 1)
    filled = Neighbourhoods(walked.neighbors.copy(), walked.weights.copy(), np.ones(3))
    filled.neighbors[2], filled.weights[2] = [1, 0], [0.75, 0.25]
    kept = KeptRows(Previous("key", graph, filled), graph, settings.length)
    items = np.arange(3, dtype=np.int32)
    asked = kept.to_walk(items)
    assert len(asked) == 0
    neighbors, weights = kept.rows(items, walker(graph, settings, 1)(asked))
    assert neighbors.tolist() == walked.neighbors.tolist() == [[1, -1], [0, -1], [-1, -1]]
    assert weights.tolist() == walked.weights.tolist()
