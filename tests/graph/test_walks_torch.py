"""Walks as tensor operations, against dictionaries and Python's integers, and beside the kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from pinsage.config import CHANGES_NO_NEIGHBOUR, NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods, walker
from pinsage.graph.splitmix import below, mixed, shifted, signed
from pinsage.graph.walks_torch import TensorWalks, graph_bytes

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
SETTINGS = NeighbourhoodConfig(size=8, walks=40, length=3, restart=0.4)


def mix(x: int) -> int:
    x &= WORD
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & WORD
    return x ^ (x >> 31)


def lists(indptr: npt.NDArray[np.int64], values: npt.NDArray[Any] | None) -> list[list[int]] | None:
    return None if values is None else [part.tolist() for part in np.split(values, indptr[1:-1])]


def choose(row: int, half: int, edges: Any, thresholds: Any) -> int:
    """One of a row's edges by 32 random bits: by thresholds where there are, else evenly."""
    if thresholds is None:
        return int(edges[row][half * len(edges[row]) >> 32])
    return int(next(e for e, t in zip(edges[row], thresholds[row], strict=True) if half <= t))


def reference(graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int) -> Neighbourhoods:
    """The definition: most visited first, of equal counts the one met first by (hop, walk)."""
    contexts = lists(graph.item_indptr, graph.item_indices)
    items = lists(graph.context_indptr, graph.context_indices)
    context_bounds = lists(graph.item_indptr, graph.item_thresholds)
    item_bounds = lists(graph.context_indptr, graph.context_thresholds)
    assert contexts is not None
    neighbors = np.full((graph.num_items, settings.size), -1, dtype=np.int32)
    weights = np.zeros((graph.num_items, settings.size), dtype=np.float32)
    for start in range(graph.num_items):
        visits: dict[int, list[tuple[int, int]]] = {}
        for walk in range(settings.walks if contexts[start] else 0):
            key, item = mix(mix(seed * GOLDEN + start) + walk * GOLDEN), start
            for hop in range(settings.length):
                draw = mix(key + (2 * hop + 1) * GOLDEN)
                context = choose(item, draw >> 32, contexts, context_bounds)
                item = choose(context, draw & 0xFFFFFFFF, items, item_bounds)
                if item != start:
                    visits.setdefault(item, []).append((hop, walk))
                if mix(key + (2 * hop + 2) * GOLDEN) < settings.restart * 2**64:
                    break
        top = sorted(visits, key=lambda met: (-len(visits[met]), min(visits[met])))[: settings.size]
        total = sum(len(visits[met]) for met in top)
        for place, met in enumerate(top):
            neighbors[start, place] = met
            weights[start, place] = np.float32(len(visits[met]) / total)
    return Neighbourhoods(neighbors, weights)


def weighted(graph: BipartiteGraph, seed: int) -> BipartiteGraph:
    """The graph with random thresholds; some edges have next to no weight, some nearly all."""
    rng = np.random.default_rng(seed)

    def thresholds(indptr: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        rows = [np.sort(rng.integers(0, 2**32 - 1, size)) for size in np.diff(indptr)]
        for row in rows:
            row[-1:] = 2**32 - 1
        return np.concatenate([np.empty(0), *rows]).astype(np.uint32)

    return replace(
        graph,
        item_thresholds=thresholds(graph.item_indptr),
        context_thresholds=thresholds(graph.context_indptr),
    )


def walked(
    graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int, **memory: int
) -> Neighbourhoods:
    walk = TensorWalks(graph, settings, seed, "cpu", **memory)
    return Neighbourhoods(*walk(np.arange(graph.num_items, dtype=np.int32)))


def assert_same(left: Neighbourhoods, right: Neighbourhoods) -> None:
    np.testing.assert_array_equal(left.neighbors, right.neighbors)
    np.testing.assert_array_equal(left.weights.view(np.int32), right.weights.view(np.int32))


@few(max_examples=60, deadline=None)
@given(
    edges=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4)), max_size=24),
    hub=st.booleans(),
    size=st.integers(1, 9),
    walks=st.integers(1, 30),
    length=st.integers(1, 4),
    restart=st.sampled_from([0.0, 0.3, 0.9]),
    seed=st.integers(0, 2**31 - 1),
    weights=st.none() | st.integers(0, 99),
    memory=st.sampled_from([1, 20_000, 1 << 24]),
)
def test_the_table_equals_the_reference(
    edges: list[tuple[int, int]],
    hub: bool,
    size: int,
    walks: int,
    length: int,
    restart: float,
    seed: int,
    weights: int | None,
    memory: int,
) -> None:
    """Isolated items, items alone in a context, an item in every context; in blocks of any size."""
    pairs = [*edges, *((0, context) for context in range(5) if hub)]
    rows = np.array(pairs, dtype=np.int32).reshape(-1, 2)
    graph = BipartiteGraph.from_edges(rows[:, 0], rows[:, 1], num_items=8, num_contexts=5)
    graph = graph if weights is None else weighted(graph, weights)
    chosen = NeighbourhoodConfig(size=size, walks=walks, length=length, restart=restart)
    assert_same(walked(graph, chosen, seed, memory=memory), reference(graph, chosen, seed))


@pytest.mark.parametrize("weights", [None, 4])
def test_it_equals_the_reference_on_a_graph_with_a_hub(
    town: BipartiteGraph, weights: int | None
) -> None:
    graph = town if weights is None else weighted(town, weights)
    expected = reference(graph, SETTINGS, 11)
    for memory in (1, 1 << 18, 1 << 30):  # an item, some, all at once
        assert_same(walked(graph, SETTINGS, 11, memory=memory), expected)
    assert (expected.neighbors[:148] >= 0).mean() > 0.9


@pytest.mark.parametrize("weights", [None, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_kernel_gives_the_same_bits(
    town: BipartiteGraph, numba_threads: Callable[[int], None], threads: int, weights: int | None
) -> None:
    numba_threads(threads)
    graph = town if weights is None else weighted(town, weights)
    assert_same(build_neighbourhoods(graph, SETTINGS, 5), walked(graph, SETTINGS, 5))


def test_items_are_walked_in_any_order_and_selection(town: BipartiteGraph) -> None:
    walk = TensorWalks(town, SETTINGS, 3, "cpu")
    whole = walked(town, SETTINGS, 3)
    items = np.array([149, 7, 0, 148, 7], dtype=np.int32)
    assert_same(Neighbourhoods(*walk(items)), Neighbourhoods(whole.neighbors[items],
                                                             whole.weights[items]))  # fmt: skip
    assert walk(items[:0])[0].shape == (0, 8)


def test_words_are_mixed_shifted_and_compared_as_unsigned() -> None:
    words = [0, 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 0x0123456789ABCDEF, 0xFEDCBA9876543210]
    bits = torch.tensor([signed(word) for word in words])
    assert [int(word) & WORD for word in mixed(bits)] == [mix(word) for word in words]
    assert [int(word) & WORD for word in shifted(bits, 32)] == [word >> 32 for word in words]
    for bound in (0, 1, 2**63, 2**63 + 1, 2**64 - 1):
        assert below(bits, bound).tolist() == [word < bound for word in words]


def test_the_bytes_of_a_graph_are_those_of_its_arrays(town: BipartiteGraph) -> None:
    # Indptr 8 bytes a row and one more; an edge stands in both directions, 4 bytes in each.
    plain = 8 * (151 + 61) + 2 * 4 * town.num_edges
    assert graph_bytes(town) == plain
    assert graph_bytes(weighted(town, 1)) == plain + 2 * 4 * town.num_edges


def test_without_a_gpu_auto_is_the_cpu_and_cuda_an_error(
    town: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    automatic = SETTINGS.model_copy(update={"device": "auto"})
    assert_same(build_neighbourhoods(town, automatic, 1), build_neighbourhoods(town, SETTINGS, 1))
    with pytest.raises(GraphError, match="device is cuda, and torch sees no GPU; set it to auto"):
        walker(town, SETTINGS.model_copy(update={"device": "cuda"}), 1)


def test_a_graph_that_does_not_fit_is_walked_on_the_cpu_or_refused(
    town: BipartiteGraph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1_000, 2_000))
    automatic = SETTINGS.model_copy(update={"device": "auto"})
    assert not isinstance(walker(town, automatic, 1), TensorWalks)
    assert "the GPU has 1,000 free: walking on the CPU" in caplog.text
    with pytest.raises(GraphError, match=r"1,000 free; set neighbourhoods.device to cpu or auto"):
        walker(town, SETTINGS.model_copy(update={"device": "cuda"}), 1)


def test_walks_that_stop_early_are_refused(town: BipartiteGraph) -> None:
    stopping = SETTINGS.model_copy(update={"stop_when_stable": 3})
    with pytest.raises(GraphError, match=r"set it to 0, or neighbourhoods.device to cpu"):
        TensorWalks(town, stopping, 1, "cpu")
    automatic = stopping.model_copy(update={"device": "auto"})
    assert not isinstance(walker(town, automatic, 1), TensorWalks)


def test_the_device_is_no_part_of_what_a_table_is_made_with() -> None:
    assert {"device", "engine", "address"} == CHANGES_NO_NEIGHBOUR


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("weights", [None, 4])
def test_a_gpu_gives_the_bits_of_the_cpu(town: BipartiteGraph, weights: int | None) -> None:
    graph = town if weights is None else weighted(town, weights)
    items = np.arange(150, dtype=np.int32)
    on_gpu = Neighbourhoods(*TensorWalks(graph, SETTINGS, 11, "cuda")(items))
    assert_same(on_gpu, walked(graph, SETTINGS, 11))
