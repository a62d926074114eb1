from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.errors import ConfigError, TrainingError
from pinsage.evaluation.baselines import ease
from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.graph.bipartite import BipartiteGraph

Dense = npt.NDArray[np.float64]


def contexts_by_items(graph: BipartiteGraph) -> Dense:
    """X, float64 [C, N]."""
    dense = np.zeros((graph.num_contexts, graph.num_items))
    context = np.repeat(np.arange(graph.num_contexts), np.diff(graph.context_indptr))
    dense[context, graph.context_indices] = 1
    return dense


def by_definition(contexts: Dense, regularization: float) -> Dense:
    """B of equation 8, in float64 by an inverse."""
    inverse = np.linalg.inv(contexts.T @ contexts + regularization * np.eye(contexts.shape[1]))
    return np.eye(contexts.shape[1]) - inverse / np.diag(inverse)


def everything(graph: BipartiteGraph) -> npt.NDArray[np.int32]:
    return np.arange(graph.num_items, dtype=np.int32)


def random_graph(seed: int, num_items: int, num_users: int, num_edges: int) -> BipartiteGraph:
    rng = np.random.default_rng(seed)
    item = (rng.random(num_edges) ** 2 * num_items).astype(np.int32)
    user = rng.integers(0, num_users, num_edges).astype(np.int32)
    return BipartiteGraph.from_edges(item, user, num_items=num_items, num_contexts=num_users)


def test_two_items_that_always_come_together_rebuild_each_other() -> None:
    """XᵀX + λI = [[3, 2], [2, 3]] has the inverse [[3, -2], [-2, 3]] / 5: B = [[0, ⅔], [⅔, 0]]."""
    twins = BipartiteGraph.from_edges(
        np.array([0, 0, 1, 1], dtype=np.int32), np.array([0, 1, 0, 1], dtype=np.int32),
        num_items=2, num_contexts=2,
    )  # fmt: skip
    scores = EASEScorer.of(twins, 1.0, 10).score(everything(twins))
    np.testing.assert_allclose(scores, [[0, 2 / 3], [2 / 3, 0]], rtol=1e-6)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    num_items=st.integers(2, 40),
    num_edges=st.integers(1, 200),
    regularization=st.floats(0.5, 500),
)
def test_weights_equal_the_definition(
    seed: int, num_items: int, num_edges: int, regularization: float
) -> None:
    graph = random_graph(seed, num_items, 30, num_edges)
    expected = by_definition(contexts_by_items(graph), regularization)
    scores = EASEScorer.of(graph, regularization, num_items).score(everything(graph))
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 30, 49, 50, 64])
def test_the_width_of_a_block_changes_nothing(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(1, 50, 40, 300)
    expected = by_definition(contexts_by_items(graph), 2.0)
    monkeypatch.setattr(ease, "_BLOCK", block)
    scores = EASEScorer.of(graph, 2.0, 50).score(everything(graph))
    np.testing.assert_allclose(scores, expected, atol=1e-6)


def test_float32_gives_the_weights_to_a_hundred_thousandth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph = random_graph(2, 700, 400, 8000)
    expected = by_definition(contexts_by_items(graph), 20.0)
    monkeypatch.setattr(ease, "_DOUBLE_ITEMS", 0)
    scores = EASEScorer.of(graph, 20.0, 700).score(everything(graph))
    assert np.abs(scores - expected).max() <= 1e-5 * np.abs(expected).max()


def test_float32_is_left_where_its_rounding_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = random_graph(2, 700, 400, 8000)
    items = everything(graph)
    assert ease._precision(graph, items, 20.0) is np.float64  # few items: it costs nothing
    monkeypatch.setattr(ease, "_DOUBLE_ITEMS", 0)
    assert ease._precision(graph, items, 20.0) is np.float32
    assert ease._precision(graph, items, 1e-3) is np.float64


def test_it_knows_the_most_popular_items_and_among_equals_the_smaller_rows() -> None:
    degrees = [1, 3, 2, 2, 2]
    item = np.repeat(np.arange(5, dtype=np.int32), degrees)
    user = np.concatenate([np.arange(degree) for degree in degrees]).astype(np.int32)
    graph = BipartiteGraph.from_edges(item, user, num_items=5, num_contexts=3)
    scorer = EASEScorer.of(graph, 1.0, 3)
    assert scorer.items.tolist() == [1, 2, 3]
    assert scorer.settings == {"regularization": 1.0, "items": 3}
    scores = scorer.score(everything(graph))
    assert not scores[[0, 4]].any()
    assert not scores[:, [0, 4]].any()
    known = contexts_by_items(graph)[:, 1:4]
    np.testing.assert_allclose(scores[1:4, 1:4], by_definition(known, 1.0), atol=1e-6)


def test_an_item_without_a_context_is_not_known(graph: BipartiteGraph) -> None:
    scorer = EASEScorer.of(graph, 1.0, graph.num_items)
    assert scorer.settings["items"] == np.count_nonzero(graph.item_degree)
    assert not scorer.score(np.array([59], dtype=np.int32)).any()


def test_a_row_does_not_depend_on_the_other_queries(graph: BipartiteGraph) -> None:
    scorer = EASEScorer.of(graph, 5.0, 30)
    together = scorer.score(everything(graph))
    for row in (0, 11, 59):
        assert np.array_equal(scorer.score(np.array([row], dtype=np.int32))[0], together[row])
    assert scorer.score(np.array([], dtype=np.int32)).shape == (0, graph.num_items)


def test_the_number_of_threads_moves_no_weight_by_more_than_a_hundred_thousandth() -> None:
    graph = random_graph(3, 1200, 500, 10_000)
    threads = torch.get_num_threads()
    found = []
    for count in (1, 2):
        torch.set_num_threads(count)
        try:
            found.append(EASEScorer.of(graph, 10.0, 1200).weights)
        finally:
            torch.set_num_threads(threads)
    assert np.abs(found[0] - found[1]).max() <= 1e-5 * np.abs(found[0]).max()


def test_the_gram_matrix_becomes_the_weights_where_it_stands() -> None:
    """A second matrix of 4,000 × 4,000 float32 would be 61 MiB more."""
    script = (
        "import numpy as np, torch\n"
        "from pinsage.evaluation.baselines import ease\n"
        "from pinsage.measure import Meter\n"
        "gram = np.eye(4000, dtype=np.float32) + np.float32(0.01)\n"
        "ease._solve(np.eye(600, dtype=np.float32))\n"  # libraries load, threads get their buffers
        "with Meter() as before: pass\n"
        "with Meter() as meter: weights = ease._solve(gram)\n"
        "assert np.shares_memory(weights, gram)\n"
        "print(meter.peak_mib - before.peak_mib)"
    )
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(run.stdout) < 55


@pytest.mark.parametrize("regularization", [0.0, -1.0, float("nan"), float("inf")])
def test_a_regularization_that_is_not_above_0_is_refused(
    regularization: float, graph: BipartiteGraph
) -> None:
    with pytest.raises(ConfigError, match=r"regularization: expected.*above 0 \(got"):
        EASEScorer.of(graph, regularization, 10)


def test_fewer_than_2_items_are_refused(graph: BipartiteGraph) -> None:
    with pytest.raises(ConfigError, match=r"ease_items: expected at least 2 \(got 1\)"):
        EASEScorer.of(graph, 1.0, 1)


def test_a_matrix_without_an_inverse_says_to_raise_the_regularization() -> None:
    indefinite = np.array([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(TrainingError, match="raise the regularization"):
        ease._solve(indefinite)
