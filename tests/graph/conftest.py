"""Graphs small enough to check by hand, and walks written the slow, obvious way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]
WithWeights = Callable[[BipartiteGraph, npt.NDArray[np.int64]], BipartiteGraph]
Lists = list[list[int]]
Sides = tuple[Lists, Lists, Lists, Lists]

_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@pytest.fixture
def town() -> BipartiteGraph:
    """150 items in 60 contexts, with a hub, an item alone in its context, and an isolated item."""
    rng = np.random.default_rng(5)
    item = rng.integers(0, 148, 500)
    context = rng.integers(0, 58, 500)
    hub = np.arange(58)
    items = np.concatenate([item, np.zeros_like(hub), [148]]).astype(np.int32)
    contexts = np.concatenate([context, hub, [58]]).astype(np.int32)
    return BipartiteGraph.from_edges(items, contexts, num_items=150, num_contexts=60)


@pytest.fixture
def reference_visits() -> ReferenceVisits:
    """Visits of the walks from an item, with Python's integers and dictionaries."""
    return visits_from


def visits_from(
    graph: BipartiteGraph, start: int, settings: NeighbourhoodConfig, seed: int
) -> Counter[int]:
    """Visits of other items, in the order of the first: in fewer hops, then by a smaller walk."""
    sides = (*adjacency(graph), *bounds(graph))
    met = [
        (hop, walk, item)
        for walk in range(settings.walks)
        for hop, item in enumerate(walk_from(sides, start, walk, settings, seed))
        if item != start
    ]
    ends = [number for k in range(20) if (number := 64 << k) < settings.walks]
    for number in [*ends, settings.walks]:
        visits = Counter(item for _, walk, item in sorted(met) if walk < number)
        enough = sum(count >= settings.stop_when_stable for count in visits.values())
        if settings.stop_when_stable and enough >= settings.size:
            break
    return visits


def walk_from(
    sides: Sides, start: int, walk: int, settings: NeighbourhoodConfig, seed: int
) -> list[int]:
    """The items that one walk comes by."""
    state = mix(mix(seed * _GOLDEN + start) + walk * _GOLDEN)
    contexts_of, items_of, context_bounds, item_bounds = sides
    items = [start]
    for hop in range(settings.length if contexts_of[start] else 0):
        draw = mix(state + (2 * hop + 1) * _GOLDEN)
        at = items[-1]
        context = pick(contexts_of[at], context_bounds[at], draw >> 32)
        items.append(pick(items_of[context], item_bounds[context], draw & 0xFFFFFFFF))
        if mix(state + (2 * hop + 2) * _GOLDEN) < settings.restart * 2**64:
            break
    return items[1:]


def adjacency(graph: BipartiteGraph) -> tuple[Lists, Lists]:
    """Neighbours of every item and of every context, as lists."""
    return (
        rows_of(graph.item_indptr, graph.item_indices),
        rows_of(graph.context_indptr, graph.context_indices),
    )


def bounds(graph: BipartiteGraph) -> tuple[Lists, Lists]:
    """Thresholds of every item's and of every context's edges; empty lists without weights."""
    if graph.item_thresholds is None or graph.context_thresholds is None:
        return [[]] * graph.num_items, [[]] * graph.num_contexts
    return (
        rows_of(graph.item_indptr, graph.item_thresholds),
        rows_of(graph.context_indptr, graph.context_thresholds),
    )


def rows_of(indptr: npt.NDArray[Any], values: npt.NDArray[Any]) -> Lists:
    return [values[start:stop].tolist() for start, stop in pairwise(indptr)]


def pick(options: list[int], thresholds: list[int], half: int) -> int:
    if thresholds:
        return next(o for o, bound in zip(options, thresholds, strict=True) if half <= bound)
    return options[half * len(options) >> 32]


@pytest.fixture
def with_weights() -> WithWeights:
    """The graph with weighted edges."""
    return weighted


def weighted(graph: BipartiteGraph, weights: npt.NDArray[np.int64]) -> BipartiteGraph:
    """`weights`, from 1, are of the edges in the order of `item_indices`."""
    item = np.repeat(np.arange(graph.num_items), graph.item_degree)
    back = np.lexsort((item, graph.item_indices))
    return replace(
        graph,
        item_thresholds=thresholds_of(graph.item_indptr, weights),
        context_thresholds=thresholds_of(graph.context_indptr, weights[back]),
    )


def thresholds_of(
    indptr: npt.NDArray[np.int64], weights: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    thresholds: list[int] = []
    for row in rows_of(indptr, weights):
        thresholds += [(sum(row[: at + 1]) << 32) // sum(row) - 1 for at in range(len(row))]
    return np.array(thresholds, dtype=np.uint32)


def mix(x: int) -> int:
    """splitmix64, https://prng.di.unimi.it/splitmix64.c without the increment."""
    x &= _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)
