from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import numba
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from pinsage.config import Baseline, EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError
from pinsage.evaluation.baselines import (
    Evidence,
    ItemKNNScorer,
    PixieScorer,
    PopularityScorer,
    RandomScorer,
    Steps,
    TransitionScorer,
)
from pinsage.evaluation.baselines.methods import METHODS, Bench, untuned
from pinsage.evaluation.ranking import Scorer
from pinsage.graph.bipartite import BipartiteGraph

Case = tuple[str, dict[str, Any]]
Rows = np.ndarray[tuple[int], np.dtype[np.int32]]

# Sixty users are few: what learns in steps takes more of them than on real data.
SETTINGS: dict[str, dict[str, Any]] = {
    "item-kNN": {"shrink": 1.0, "damping": 0.4, "context_damping": 0.5},
    "transitions": {"window": 1, "equal_times": "both", "backward": 0.5},
    "Pixie": {"length": 2, "damping": 0.2},
    "EASE": {"regularization": 5.0},
    "ALS": {"factors": 4, "regularization": 1.0, "alpha": 5.0, "similarity": "inner"},
    "BPR": {"factors": 4, "learning_rate": 0.05, "rounds": 100, "similarity": "inner"},
    "item2vec": {"window": 3, "epochs": 60, "negative_power": 0.0, "match": "in-out"},
    "content-kNN": {"idf": 1.0, "mass": 0.0},
}
OTHERWISE = [
    ("ALS", {**SETTINGS["ALS"], "similarity": "cosine"}),
    ("BPR", {**SETTINGS["BPR"], "similarity": "cosine"}),
    ("item2vec", {**SETTINGS["item2vec"], "match": "in-in"}),
]
CASES = [*((name, SETTINGS.get(name, {})) for name in get_args(Baseline)), *OTHERWISE]
BLIND = {"random", "popularity"}  # to the query
TASTES = ([0, 1, 2, 3], [4, 5, 6, 7])


def make(name: str, settings: dict[str, Any], evidence: Evidence) -> Scorer:
    simple = untuned(evidence)
    if name in simple:
        return simple[name]
    bench = Bench(evidence, EvaluationConfig(pixie_walks=500), {})
    build = METHODS[name](bench)  # type: ignore[index]
    assert build is not None
    return build(settings)


@pytest.fixture(
    scope="module",
    params=CASES,
    ids=lambda case: "-".join([case[0], *(v for v in case[1].values() if isinstance(v, str))]),
)
def case(request: pytest.FixtureRequest) -> Case:
    name, settings = request.param
    return name, settings


@pytest.fixture(scope="module")
def name(case: Case) -> str:
    return case[0]


@pytest.fixture(scope="module")
def built(case: Case, tastes: Evidence) -> Scorer:
    return make(*case, tastes)


class TestEveryBaseline:
    """What holds for all of them, on two tastes that nobody shares."""

    def test_has_its_name_and_gives_finite_float32_of_queries_by_items(
        self, name: str, built: Scorer
    ) -> None:
        scores = built.score(np.array([3, 9, 3], dtype=np.int32))
        assert built.name == name
        assert scores.shape == (3, 10)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_an_empty_block_has_no_rows(self, built: Scorer) -> None:
        assert built.score(np.array([], dtype=np.int32)).shape == (0, 10)

    def test_a_row_does_not_depend_on_the_other_queries(self, built: Scorer) -> None:
        together = built.score(np.arange(10, dtype=np.int32))
        for row in range(10):
            alone = built.score(np.array([row], dtype=np.int32))[0]
            # A product of matrices may round differently by shape; ranks are computed exactly.
            np.testing.assert_allclose(together[row], alone, rtol=1e-6, atol=1e-6)

    def test_is_the_same_when_built_again_with_another_number_of_threads(
        self, case: Case, built: Scorer, tastes: Evidence
    ) -> None:
        query, threads = np.arange(10, dtype=np.int32), numba.get_num_threads()
        many = built.score(query)
        numba.set_num_threads(1)
        try:
            with threadpool_limits(1):
                assert np.array_equal(make(*case, tastes).score(query), many)
        finally:
            numba.set_num_threads(threads)

    def test_ranks_what_was_taken_together_above_what_was_not(
        self, name: str, built: Scorer
    ) -> None:
        if name in BLIND:
            pytest.skip("does not look at the query")
        scores = built.score(np.arange(10, dtype=np.int32))
        for taste, other in (TASTES, TASTES[::-1]):
            for query in taste:
                related = [item for item in taste if item != query]
                assert scores[query, related].min() > scores[query, other].max()

    def test_items_it_knows_nothing_of_are_not_above_what_it_knows_to_be_related(
        self, name: str, built: Scorer
    ) -> None:
        if name == "random":
            pytest.skip("knows nothing of any item")
        unknown = [9] if name == "content-kNN" else [8, 9]
        scores = built.score(np.arange(10, dtype=np.int32))
        for taste in TASTES:
            for query in taste:
                related = [item for item in taste if item != query]
                assert scores[query, unknown].max() < scores[query, related].min()

    def test_what_it_was_built_with_can_be_written_down(self, case: Case, built: Scorer) -> None:
        name, settings = case
        if name in BLIND:
            pytest.skip("has nothing to choose")
        noted = getattr(built, "settings", {})
        assert {key: noted[key] for key in settings} == settings
        assert all(isinstance(value, int | float | str) for value in noted.values())


def contexts_of(graph: BipartiteGraph) -> list[set[int]]:
    bounds = graph.item_indptr
    return [set(graph.item_indices[a:b].tolist()) for a, b in pairwise(bounds)]


def everything(graph: BipartiteGraph) -> Rows:
    return np.arange(graph.num_items, dtype=np.int32)


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
@pytest.mark.parametrize(("damping", "context_damping"), [(0.5, 0.0), (0.2, 0.0), (0.5, 1.0)])
def test_item_knn_is_the_shrunk_cosine_of_sets_of_contexts(
    graph: BipartiteGraph, shrink: float, damping: float, context_damping: float
) -> None:
    sets = contexts_of(graph)
    size = Counter(context for contexts in sets for context in contexts)
    knn = ItemKNNScorer(graph, shrink, damping, context_damping)
    scores = knn.score(everything(graph))
    for q, own in enumerate(sets):
        for j, other in enumerate(sets):
            shared = sum(size[context] ** -context_damping for context in own & other)
            norm = len(own) ** (1 - damping) * len(other) ** damping
            assert scores[q, j] == pytest.approx(
                shared / (norm + shrink) if shared else 0.0, rel=1e-5
            )


@pytest.mark.parametrize("damping", [0.0, 0.3, 1.0])
def test_item_knn_never_exceeds_one(graph: BipartiteGraph, damping: float) -> None:
    scores = ItemKNNScorer(graph, 0.0, damping).score(everything(graph))
    assert scores.max() <= 1.0 + 1e-6


def test_a_negative_shrinkage_is_refused(graph: BipartiteGraph) -> None:
    with pytest.raises(ConfigError, match=r"shrink: expected 0 or more contexts \(got -1"):
        ItemKNNScorer(graph, -1.0)


def test_an_exponent_above_one_is_refused(graph: BipartiteGraph) -> None:
    with pytest.raises(ConfigError, match=r"damping: expected an exponent from 0 to 1 \(got 2"):
        ItemKNNScorer(graph, 0.0, damping=2.0)


@pytest.mark.parametrize("backward", [0.0, 0.5, 1.0])
def test_transitions_count_steps_forward_and_a_share_of_the_steps_back(
    graph: BipartiteGraph, train_pairs: Pairs, backward: float
) -> None:
    knn = ItemKNNScorer(graph, 5.0)
    steps: Counter[tuple[int, int]] = Counter(
        zip(train_pairs.query_row.tolist(), train_pairs.positive_row.tolist(), strict=True)
    )
    counted = Steps.of(train_pairs, graph.num_items)
    scores = TransitionScorer.of(counted, knn, {"backward": backward}).score(everything(graph))
    fallback = knn.score(everything(graph))
    for q in range(graph.num_items):
        for i in range(graph.num_items):
            expected = steps[q, i] + steps[i, q] * backward + 0.49 * fallback[q, i]
            assert scores[q, i] == pytest.approx(expected, rel=1e-5)


def test_a_transition_outranks_the_most_similar_item_without_one() -> None:
    twins = BipartiteGraph.from_edges(
        np.array([0, 0, 1, 1], dtype=np.int32), np.array([0, 1, 0, 1], dtype=np.int32),
        num_items=3, num_contexts=2,
    )  # fmt: skip
    user, query, positive = np.array([[0], [2], [0]], dtype=np.int32)
    step = Steps.of(Pairs(user, query, positive), twins.num_items)
    back = TransitionScorer.of(step, ItemKNNScorer(twins, 0.0), {"backward": 0.5})
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


def test_a_memory_mapped_graph_scores_the_same(graph: BipartiteGraph, tmp_path: Path) -> None:
    graph.save(tmp_path)
    opened = BipartiteGraph.open(tmp_path)
    query = everything(graph)
    makers: list[Callable[[BipartiteGraph], Scorer]] = [
        lambda g: ItemKNNScorer(g, 1.0),
        lambda g: PixieScorer(g, 50, 2, 0.5, 0.2, 1),
    ]
    for make_scorer in makers:
        assert np.array_equal(make_scorer(graph).score(query), make_scorer(opened).score(query))
