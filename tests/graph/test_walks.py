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
from pinsage.graph import walks
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.walks import end_threshold, visit_counts
from pinsage.training import loader, sampler

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]
Dense = npt.NDArray[np.float64]


def dense(graph: BipartiteGraph) -> Dense:
    """A, the biadjacency matrix [N, C]."""
    matrix = np.zeros((graph.num_items, graph.num_contexts))
    matrix[np.repeat(np.arange(graph.num_items), graph.item_degree), graph.item_indices] = 1
    return matrix


def expected_visits(graph: BipartiteGraph, length: int, restart: float) -> Dense:
    """Visits a walk from u (row) pays v (column): sum over h of (1 - restart)^h · P^(h + 1),
    P = D_i⁻¹ A D_c⁻¹ Aᵀ, without those of u itself.
    """
    a = dense(graph)
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


@pytest.mark.parametrize(("length", "restart"), [(1, 0.0), (3, 0.5), (6, 0.1)])
def test_visits_converge_to_the_exact_distribution(length: int, restart: float) -> None:
    rng = np.random.default_rng(1)
    graph = BipartiteGraph.from_edges(
        rng.integers(0, 11, 30).astype(np.int32),
        rng.integers(0, 6, 30).astype(np.int32),
        num_items=12,
        num_contexts=6,
    )
    walks = 40_000
    items = np.arange(12, dtype=np.int32)
    counts = visit_counts(graph, items, walks=walks, length=length, restart=restart, seed=3)
    expected = expected_visits(graph, length, restart)
    # A walk pays an item X ≤ length visits, so Var X ≤ E X² ≤ length · E X. Five standard errors.
    tolerance = 5 * np.sqrt(length * expected / walks)
    assert (np.abs(counts / walks - expected) <= tolerance).all()
    assert expected[:11].sum() > 0


def test_counts_equal_the_reference(
    town: BipartiteGraph, reference_visits: ReferenceVisits
) -> None:
    settings = NeighbourhoodConfig(walks=30, length=4, restart=0.2)
    queries = np.array([0, 149, 7, 7, 148], dtype=np.int32)
    counts = visit_counts(town, queries, walks=30, length=4, restart=0.2, seed=11)
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


@pytest.mark.parametrize("module", [walks, sampler, loader])
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
