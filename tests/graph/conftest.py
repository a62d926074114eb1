"""Graphs small enough to check by hand, and walks written the slow, obvious way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph

ReferenceVisits = Callable[[BipartiteGraph, int, NeighbourhoodConfig, int], Counter[int]]

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
    contexts_of, items_of = adjacency(graph)
    visits: Counter[int] = Counter()
    for walk in range(settings.walks):
        state = mix(mix(seed * _GOLDEN + start) + walk * _GOLDEN)
        item = start
        for hop in range(settings.length):
            if not contexts_of[item]:
                break
            draw = mix(state + (2 * hop + 1) * _GOLDEN)
            context = pick(contexts_of[item], draw >> 32)
            item = pick(items_of[context], draw & 0xFFFFFFFF)
            if item != start:
                visits[item] += 1
            if mix(state + (2 * hop + 2) * _GOLDEN) < settings.restart * 2**64:
                break
    return visits


def adjacency(graph: BipartiteGraph) -> tuple[list[list[int]], list[list[int]]]:
    """Neighbours of every item and of every context, as lists."""

    def lists(indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32]) -> list[list[int]]:
        return [part.tolist() for part in np.split(indices, indptr[1:-1])]

    return (
        lists(graph.item_indptr, graph.item_indices),
        lists(graph.context_indptr, graph.context_indices),
    )


def pick(options: list[int], half: int) -> int:
    return options[half * len(options) >> 32]


def mix(x: int) -> int:
    """splitmix64, https://prng.di.unimi.it/splitmix64.c without the increment."""
    x &= _WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _WORD
    return x ^ (x >> 31)
