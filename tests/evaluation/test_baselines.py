from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np
import pytest

from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError
from pinsage.evaluation.baselines import (
    ItemKNNScorer,
    PixieScorer,
    PopularityScorer,
    RandomScorer,
    TransitionScorer,
)
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.ranking import Scorer
from pinsage.graph.bipartite import BipartiteGraph

NAMES = ["random", "popularity", "item-kNN", "transitions", "Pixie", "PinSage"]


def contexts_of(graph: BipartiteGraph) -> list[set[int]]:
    bounds = graph.item_indptr
    return [set(graph.item_indices[a:b].tolist()) for a, b in pairwise(bounds)]


def everything(graph: BipartiteGraph) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.arange(graph.num_items, dtype=np.int32)


@pytest.mark.parametrize("name", NAMES)
class TestEveryScorer:
    def test_has_its_name_and_gives_finite_float32_of_queries_by_items(
        self, name: str, scorers: dict[str, Scorer]
    ) -> None:
        scores = scorers[name].score(np.array([3, 59, 3], dtype=np.int32))
        assert scorers[name].name == name
        assert scores.shape == (3, 60)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_gives_the_same_twice(self, name: str, scorers: dict[str, Scorer]) -> None:
        query = np.array([0, 7, 55], dtype=np.int32)
        assert np.array_equal(scorers[name].score(query), scorers[name].score(query))

    def test_a_row_does_not_depend_on_the_other_queries(
        self, name: str, graph: BipartiteGraph, scorers: dict[str, Scorer]
    ) -> None:
        together = scorers[name].score(everything(graph))
        for row in (0, 11, 59):
            alone = scorers[name].score(np.array([row], dtype=np.int32))[0]
            # Products of matrices may round differently by shape; everything else counts.
            tolerance = 1e-5 if name == "PinSage" else 0.0
            np.testing.assert_allclose(together[row], alone, rtol=tolerance, atol=tolerance)

    def test_the_number_of_threads_changes_nothing(
        self, name: str, graph: BipartiteGraph, scorers: dict[str, Scorer]
    ) -> None:
        threads = numba.get_num_threads()
        many = scorers[name].score(everything(graph))
        numba.set_num_threads(1)
        try:
            assert np.array_equal(scorers[name].score(everything(graph)), many)
        finally:
            numba.set_num_threads(threads)

    def test_an_empty_block_has_no_rows(self, name: str, scorers: dict[str, Scorer]) -> None:
        assert scorers[name].score(np.array([], dtype=np.int32)).shape == (0, 60)


def test_random_is_uniform_and_seeded() -> None:
    query = np.arange(200, dtype=np.int32)
    scores = RandomScorer(500, 1).score(query)
    assert scores.min() >= 0
    assert scores.max() < 1
    assert scores.mean() == pytest.approx(0.5, abs=0.005)
    assert scores.std() == pytest.approx(math.sqrt(1 / 12), abs=0.005)
    assert not np.array_equal(scores, RandomScorer(500, 2).score(query))
    assert abs(np.corrcoef(scores[0], scores[1])[0, 1]) < 0.2


def test_popularity_is_the_number_of_contexts_for_every_query(graph: BipartiteGraph) -> None:
    degree = [len(contexts) for contexts in contexts_of(graph)]
    scores = PopularityScorer(graph).score(np.array([1, 2], dtype=np.int32))
    assert scores.tolist() == [degree, degree]


@pytest.mark.parametrize("shrink", [0.0, 3.0])
def test_item_knn_is_the_shrunk_cosine_of_sets_of_contexts(
    graph: BipartiteGraph, shrink: float
) -> None:
    sets = contexts_of(graph)
    scores = ItemKNNScorer(graph, shrink).score(everything(graph))
    for q, own in enumerate(sets):
        for j, other in enumerate(sets):
            shared = len(own & other)
            expected = shared / (math.sqrt(len(own) * len(other)) + shrink) if shared else 0.0
            assert scores[q, j] == pytest.approx(expected, rel=1e-5)


def test_a_negative_shrinkage_is_refused(graph: BipartiteGraph) -> None:
    with pytest.raises(ConfigError, match=r"shrink: expected 0 or more contexts \(got -1"):
        ItemKNNScorer(graph, -1.0)


def test_transitions_count_steps_forward_and_half_the_steps_back(
    graph: BipartiteGraph, train_pairs: Pairs
) -> None:
    knn = ItemKNNScorer(graph, 5.0)
    steps: Counter[tuple[int, int]] = Counter(
        zip(train_pairs.query_row.tolist(), train_pairs.positive_row.tolist(), strict=True)
    )
    scores = TransitionScorer.of(train_pairs.query_row, train_pairs.positive_row, knn).score(
        everything(graph)
    )
    fallback = knn.score(everything(graph))
    for q in range(graph.num_items):
        for i in range(graph.num_items):
            expected = steps[q, i] + steps[i, q] / 2 + 0.49 * fallback[q, i]
            assert scores[q, i] == pytest.approx(expected, rel=1e-5)


def test_a_transition_outranks_the_most_similar_item_without_one() -> None:
    twins = BipartiteGraph.from_edges(
        np.array([0, 0, 1, 1], dtype=np.int32), np.array([0, 1, 0, 1], dtype=np.int32),
        num_items=3, num_contexts=2,
    )  # fmt: skip
    back = TransitionScorer.of(
        np.array([2], dtype=np.int32), np.array([0], dtype=np.int32), ItemKNNScorer(twins, 0.0)
    )
    scores = back.score(np.array([0], dtype=np.int32))[0]
    assert scores[1] == pytest.approx(0.49)  # a cosine of 1
    assert scores[2] == pytest.approx(0.5)  # one step back


def test_pixie_visits_come_in_proportion_to_the_chance_of_one_hop(graph: BipartiteGraph) -> None:
    """One hop from q: a context of q, then an item of it, both uniform."""
    query = int(np.argmax(graph.item_degree))
    chance: Counter[int] = Counter()
    for context in contexts_of(graph)[query]:
        bounds = graph.context_indptr[context : context + 2]
        items = graph.context_indices[bounds[0] : bounds[1]].tolist()
        for item in items:
            chance[item] += 1 / len(items) / graph.item_degree[query]
    del chance[query]
    walks = 50_000
    pixie = PixieScorer(graph, walks, length=1, restart=0.5, damping=0.0, seed=1)
    scores = pixie.score(np.array([query], dtype=np.int32))[0]
    assert set(np.flatnonzero(scores).tolist()) == set(chance)
    for item, share in chance.items():
        error = math.sqrt(share * (1 - share) / walks)
        assert scores[item] / walks == pytest.approx(share, abs=5 * error)


def test_damping_divides_visits_by_a_power_of_the_degree(graph: BipartiteGraph) -> None:
    query = everything(graph)
    plain = PixieScorer(graph, 100, 2, 0.5, 0.0, 1).score(query)
    damped = PixieScorer(graph, 100, 2, 0.5, 0.5, 1).score(query)
    degree = np.maximum(graph.item_degree, 1)
    np.testing.assert_allclose(damped, plain / np.sqrt(degree), rtol=1e-5)


def test_embeddings_score_by_inner_product() -> None:
    embeddings = np.array([[1, 2], [3, 4], [0, -1]], dtype=np.float32)
    scores = EmbeddingScorer("PinSage", embeddings).score(np.array([1, 0], dtype=np.int32))
    assert scores.tolist() == [[11, 25, -4], [5, 11, -2]]


def test_a_memory_mapped_graph_scores_the_same(graph: BipartiteGraph, tmp_path: Path) -> None:
    graph.save(tmp_path)
    opened = BipartiteGraph.open(tmp_path)
    query = everything(graph)
    for make in (lambda g: ItemKNNScorer(g, 1.0), lambda g: PixieScorer(g, 50, 2, 0.5, 0.2, 1)):
        assert np.array_equal(make(graph).score(query), make(opened).score(query))
