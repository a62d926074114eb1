from __future__ import annotations

import pytest

from pinsage.config import EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines import ItemKNNScorer, PixieScorer
from pinsage.evaluation.metrics import hit_rate
from pinsage.evaluation.ranking import Scorer, rank_pairs
from pinsage.evaluation.tuning import Trial, build_baselines
from pinsage.graph.bipartite import BipartiteGraph

CONFIG = EvaluationConfig(ks=(5, 10), pixie_walks=100, block=16)


@pytest.fixture(scope="module")
def tuned(
    graph: BipartiteGraph, train_pairs: Pairs, pairs: Pairs
) -> tuple[list[Scorer], list[Trial]]:
    return build_baselines(graph, train_pairs, pairs, CONFIG, 3)


def test_all_baselines_are_there_once(tuned: tuple[list[Scorer], list[Trial]]) -> None:
    names = [scorer.name for scorer in tuned[0]]
    assert names == ["random", "popularity", "item-kNN", "transitions", "Pixie"]


def test_a_setting_is_chosen_by_its_hit_rate_on_the_pairs_given(
    tuned: tuple[list[Scorer], list[Trial]], graph: BipartiteGraph, pairs: Pairs
) -> None:
    scorers, trials = tuned
    for scorer in scorers:
        if not isinstance(scorer, ItemKNNScorer | PixieScorer):
            continue
        own = [trial for trial in trials if trial.baseline == scorer.name]
        (chosen,) = [trial for trial in own if trial.chosen]
        ranks = rank_pairs(scorer, pairs.query_row, pairs.positive_row, graph.num_items, 64)
        assert chosen.settings == scorer.settings
        assert chosen.hit_rate == pytest.approx(hit_rate(ranks, 10))
        assert chosen.hit_rate == max(trial.hit_rate for trial in own)
        assert len(own) >= 5
