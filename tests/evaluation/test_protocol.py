from __future__ import annotations

import math

import numpy as np
import pytest

from pinsage.config import EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ContractError
from pinsage.evaluation.metrics import hit_rate, mean_reciprocal_rank
from pinsage.evaluation.protocol import evaluate
from pinsage.evaluation.ranking import Scorer, rank_pairs, rank_queries
from pinsage.evaluation.results import Catalog, Results
from pinsage.evaluation.slices import ALL, SUPPORT, Part
from pinsage.graph.bipartite import BipartiteGraph

CONFIG = EvaluationConfig(ks=(5, 10, 500), bootstrap=200, block=7)


def catalog_of(graph: BipartiteGraph) -> Catalog:
    return Catalog(graph.item_degree, graph.num_contexts)


def part_of(label: str) -> Part:
    return ALL if label == "all" else Part(SUPPORT, label)


@pytest.fixture(scope="module")
def results(graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]) -> Results:
    return evaluate(list(scorers.values()), pairs, catalog_of(graph), config=CONFIG, seed=11)


def test_every_slice_holds_the_metrics_of_its_own_pairs(
    results: Results, graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]
) -> None:
    degree = graph.item_degree[pairs.positive_row]
    members = {
        "all": degree >= 0,
        "warm": degree >= 10,
        "rare": (degree >= 1) & (degree <= 9),
        "cold": degree == 0,
    }
    expected = {label: int(mask.sum()) for label, mask in members.items()}
    assert {label: results.parts[part_of(label)] for label in members} == expected
    for name, scorer in scorers.items():
        ranks = rank_pairs(scorer, pairs.query_row, pairs.positive_row, graph.num_items, 64)
        for part, mask in members.items():
            hits, mrr = hit_rate(ranks[mask], 5), mean_reciprocal_rank(ranks[mask])
            assert results.get(name, "hit_rate_5", part_of(part)).value == pytest.approx(hits)
            assert results.get(name, "mrr", part_of(part)).value == pytest.approx(mrr)


def test_intervals_hold_their_estimate_and_cutoffs_fit_the_catalog(results: Results) -> None:
    assert results.ks == (5, 10)
    assert set(results.ks) <= set(results.curve_ks)
    assert results.curve_ks[0] == 1
    assert results.curve_ks[-1] == results.num_items - 1
    for method in results.methods:
        interval = results.get(method, "hit_rate_10")
        assert 0 <= interval.low <= interval.value <= interval.high <= 1
        assert results.get(method, f"hit_rate_{results.curve_ks[-1]}").low == 1


def test_the_block_of_the_scaled_mrr_is_fitted_or_given(
    results: Results, graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]
) -> None:
    assert results.mrr_block == 1
    given = CONFIG.model_copy(update={"mrr_block": 20})
    one = [scorers["item-kNN"]]
    scaled = evaluate(one, pairs, catalog_of(graph), config=given, seed=1)
    ranks = rank_pairs(one[0], pairs.query_row, pairs.positive_row, graph.num_items, 64)
    assert scaled.get("item-kNN", "mrr_scaled").value == pytest.approx(
        np.mean(1 / np.ceil(ranks / 20))
    )


def test_a_difference_is_paired_and_antisymmetric(results: Results) -> None:
    one = results.difference("item-kNN", "Pixie", "mrr")
    other = results.difference("Pixie", "item-kNN", "mrr")
    expected = results.get("item-kNN", "mrr").value - results.get("Pixie", "mrr").value
    assert one.value == pytest.approx(expected)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    nothing = results.difference("Pixie", "Pixie", "mrr")
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)


def test_the_best_method_is_that_with_the_highest_value(results: Results) -> None:
    best = results.best("hit_rate_10", results.methods)
    assert results.get(best, "hit_rate_10").value == max(
        results.get(method, "hit_rate_10").value for method in results.methods
    )


def test_the_same_seed_gives_the_same_numbers(
    results: Results, graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]
) -> None:
    some = list(scorers.values())
    other = CONFIG.model_copy(update={"block": 64})
    again = evaluate(some, pairs, catalog_of(graph), config=other, seed=11)
    for scorer in some:
        assert again.get(scorer.name, "mrr") == results.get(scorer.name, "mrr")


def test_coverage_gini_and_popularity_describe_the_top_ten(
    results: Results, graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]
) -> None:
    lists = rank_queries(
        scorers["item-kNN"], pairs.query_row, pairs.positive_row, graph.num_items, 64
    ).top.tolist()
    shown = [item for top in lists for item in top]
    counts = [shown.count(item) for item in range(graph.num_items)]
    gaps = sum(abs(a - b) for a in counts for b in counts)
    beyond = results.beyond["item-kNN"]
    assert beyond.coverage == pytest.approx(len(set(shown)) / graph.num_items)
    assert beyond.gini == pytest.approx(gaps / (2 * len(counts) * sum(counts)))
    assert beyond.popularity == pytest.approx(np.mean([graph.item_degree[i] for i in shown]))
    assert results.beyond["popularity"].gini > results.beyond["random"].gini


def test_a_slice_without_pairs_has_no_number(
    graph: BipartiteGraph, scorers: dict[str, Scorer]
) -> None:
    warm = np.argsort(-graph.item_degree)[:2].astype(np.int32)
    one = Pairs(np.array([0], dtype=np.int32), warm[:1], warm[1:])
    results = evaluate([scorers["popularity"]], one, catalog_of(graph), config=CONFIG, seed=1)
    assert math.isnan(results.get("popularity", "mrr", Part(SUPPORT, "cold")).value)
    assert results.num_users == 1


def test_a_period_without_pairs_is_an_error_that_says_what_to_change(
    graph: BipartiteGraph, scorers: dict[str, Scorer]
) -> None:
    none = np.array([], dtype=np.int32)
    with pytest.raises(ContractError, match=r"found none.*split\.train_share"):
        evaluate(
            list(scorers.values()), Pairs(none, none, none),
            catalog_of(graph), config=CONFIG, seed=1,
        )  # fmt: skip
