"""Visit counts: the same as the slow reference's, and right on average."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numba.extending import is_jitted

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph import visits, walks
from pinsage.graph import walkable as packing
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import build_neighbourhoods
from pinsage.graph.visits import visit_counts
from pinsage.graph.walkable import walkable
from pinsage.graph.walks import end_threshold
from pinsage.training import loader, sampler

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]
WithWeights = Callable[[BipartiteGraph, npt.NDArray[np.int64]], BipartiteGraph]
Dense = npt.NDArray[np.float64]


def dense(graph: BipartiteGraph, weights: npt.NDArray[np.int64] | int = 1) -> Dense:
    """A, the biadjacency matrix [N, C], of the edges' weights."""
    matrix = np.zeros((graph.num_items, graph.num_contexts))
    matrix[np.repeat(np.arange(graph.num_items), graph.item_degree), graph.item_indices] = weights
    return matrix


def expected_visits(a: Dense, length: int, restart: float) -> Dense:
    """Visits a walk from u (row) pays v (column): sum over h of (1 - restart)^h · P^(h + 1),
    P = D_i⁻¹ A D_c⁻¹ Aᵀ, without those of u itself.
    """
    to_context = a / np.maximum(a.sum(axis=1, keepdims=True), 1)
    to_item = a.T / np.maximum(a.T.sum(axis=1, keepdims=True), 1)
    hop = to_context @ to_item
    visits: Dense = np.zeros_like(hop)
    arrive = hop
    for _ in range(length):
        visits += arrive
        arrive = (1 - restart) * arrive @ hop
    np.fill_diagonal(visits, 0)
    return visits


@pytest.fixture
def village() -> BipartiteGraph:
    """11 items in 6 contexts, and an isolated item."""
    rng = np.random.default_rng(1)
    return BipartiteGraph.from_edges(
        rng.integers(0, 11, 30).astype(np.int32),
        rng.integers(0, 6, 30).astype(np.int32),
        num_items=12,
        num_contexts=6,
    )


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize(("length", "restart"), [(1, 0.0), (3, 0.5), (6, 0.1)])
def test_visits_converge_to_the_exact_distribution(
    village: BipartiteGraph,
    with_weights: WithWeights,
    length: int,
    restart: float,
    is_weighted: bool,
) -> None:
    weights = np.random.default_rng(4).integers(1, 9, village.num_edges)
    graph = with_weights(village, weights) if is_weighted else village
    expected = expected_visits(dense(village, weights if is_weighted else 1), length, restart)
    items, walks = np.arange(12, dtype=np.int32), 40_000
    counts = visit_counts(graph, items, walks=walks, length=length, restart=restart, seed=3)
    # A walk pays an item X ≤ length visits, so Var X ≤ E X² ≤ length · E X. Five standard errors.
    tolerance = 5 * np.sqrt(length * expected / walks)
    assert (np.abs(counts / walks - expected) <= tolerance).all()
    assert expected[:11].sum() > 0


@pytest.mark.parametrize("is_weighted", [False, True])
def test_importance_converges_to_the_exact_distribution_as_walks_grow(
    village: BipartiteGraph, with_weights: WithWeights, is_weighted: bool
) -> None:
    weights = np.random.default_rng(4).integers(1, 9, village.num_edges)
    graph = with_weights(village, weights) if is_weighted else village
    expected = expected_visits(dense(village, weights if is_weighted else 1), 3, 0.5)
    expected /= np.maximum(expected.sum(axis=1, keepdims=True), 1e-9)
    errors = []
    for number in (100, 1_600, 25_600):
        table = build_neighbourhoods(graph, NeighbourhoodConfig(size=12, walks=number), 3)
        found = np.zeros((12, 13))  # the last column takes the padding's zeros
        found[np.arange(12)[:, None], table.neighbors] = table.weights
        errors.append(np.abs(found[:, :12] - expected).mean())
    # 16 times the walks, a quarter of the error; chance makes that a third at most.
    assert errors[0] > 3 * errors[1] > 9 * errors[2]


@pytest.mark.parametrize(("walks", "stable"), [(30, 0), (200, 3)])
def test_counts_equal_the_reference(
    town: BipartiteGraph, reference_visits: ReferenceVisits, walks: int, stable: int
) -> None:
    settings = NeighbourhoodConfig(
        walks=walks, length=4, restart=0.2, stop_when_stable=stable, size=6
    )
    queries = np.array([0, 149, 7, 7, 148], dtype=np.int32)
    counts = visit_counts(
        town, queries, walks=walks, length=4, restart=0.2, seed=11, stop_when_stable=stable, size=6
    )
    for row, query in zip(counts, queries.tolist(), strict=True):
        visits = reference_visits(town, query, settings, 11)
        assert {int(item): int(row[item]) for item in np.flatnonzero(row)} == visits


def test_a_query_is_not_visited_by_itself(town: BipartiteGraph) -> None:
    queries = np.arange(150, dtype=np.int32)
    counts = visit_counts(town, queries, walks=20, length=5, restart=0.1, seed=2)
    assert not counts.diagonal().any()


def test_an_isolated_item_visits_nothing(town: BipartiteGraph) -> None:
    isolated = np.array([149], dtype=np.int32)
    assert not visit_counts(town, isolated, walks=20, length=5, restart=0.1, seed=2).any()


def test_without_restart_every_walk_makes_all_its_hops() -> None:
    #  0 – a – 1: a hop stays or crosses, each with probability 1/2
    edges = np.array([0, 1], dtype=np.int32)
    graph = BipartiteGraph.from_edges(edges, edges * 0, num_items=2, num_contexts=1)
    query = np.array([0], dtype=np.int32)
    counts = visit_counts(graph, query, walks=10_000, length=8, restart=0.0, seed=1)
    assert counts[0, 1] == pytest.approx(40_000, abs=5 * np.sqrt(80_000 / 4))


@pytest.mark.parametrize(
    ("restart", "threshold"), [(0.0, 0), (0.5, 1 << 63), (np.nextafter(1, 0), 2**64 - 2**11)]
)
def test_the_threshold_is_the_share_of_draws_below_it(restart: float, threshold: int) -> None:
    assert int(end_threshold(restart)) == threshold


def endless(num_edges: int, degree: int) -> BipartiteGraph:
    """A graph of so many edges in one item's row and the last `degree` in another's; no memory."""
    indptr = np.array([0, num_edges - degree, num_edges, num_edges])
    indices = np.broadcast_to(np.int32(0), num_edges)
    return BipartiteGraph(indptr, indices, indptr, indices)


def test_a_row_may_start_behind_two_to_the_31_edges_and_be_as_long() -> None:
    slots = walkable(endless(2**33 - 1, 2**31 - 1))[0].slots
    assert [int(slot) & (2**33 - 1) for slot in slots[1:]] == [2**33 - 2**31, 2**33 - 2]
    assert [int(slot) >> 33 for slot in slots[1:]] == [2**31 - 1, 0]


def test_more_edges_than_a_slot_can_address_are_refused() -> None:
    with pytest.raises(GraphError, match=r"at most 8,589,934,591 edges \(got 8,589,934,592\)"):
        walkable(endless(2**33, 1))


@pytest.mark.parametrize("module", [walks, packing, visits, sampler, loader])
def test_cached_kernels_call_only_kernels_of_their_own_file(module: ModuleType) -> None:
    # numba's cache on disk notices a change of a kernel's own file alone.
    known = vars(module)
    own = [
        each for each in known.values() if is_jitted(each) and each.__module__ == module.__name__
    ]
    called: list[Any] = [
        known.get(name) for kernel in own for name in kernel.py_func.__code__.co_names
    ]
    assert own
    assert all(other in own for other in called if is_jitted(other))
