from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pinsage.config import Baseline, ChooseBy, EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError, MissingExtraError
from pinsage.evaluation.baselines import Evidence, ItemKNNScorer, TransitionScorer, require_packages
from pinsage.evaluation.metrics import hit_rate
from pinsage.evaluation.ranking import Scorer, rank_pairs
from pinsage.evaluation.tuning import Trial, build_baselines

CONFIG = EvaluationConfig(ks=(2, 3), pixie_walks=100, block=16, trials=3)
EVERY = np.arange(10, dtype=np.int32)
Tuned = tuple[list[Scorer], list[Trial]]


def walk(seed: int, size: int) -> Pairs:
    """Steps inside either taste, and now and then to the other."""
    rng = np.random.default_rng(seed)
    query = rng.integers(0, 8, size)
    positive = (query // 4 * 4 + (query + rng.integers(1, 4, size)) % 4) % 8
    astray = rng.random(size) < 0.2
    positive[astray] = (query[astray] + 4) % 8
    user = rng.integers(0, 60, size)
    return Pairs(
        user.astype(np.int32), query.astype(np.int32), positive.astype(np.int32), np.arange(size)
    )


VALID = walk(1, 120)


@pytest.fixture(scope="module")
def tuned(tastes: Evidence) -> Tuned:
    return build_baselines(tastes, VALID, CONFIG)


def chosen_settings(trials: list[Trial], name: str) -> dict[str, Any]:
    (one,) = [trial for trial in trials if trial.baseline == name and trial.chosen]
    return dict(one.settings)


def test_all_baselines_are_there_once_in_the_order_of_the_configuration(tuned: Tuned) -> None:
    assert [scorer.name for scorer in tuned[0]] == list(get_args(Baseline))


def test_those_configured_are_built_and_no_others(tastes: Evidence) -> None:
    config = CONFIG.model_copy(update={"baselines": ("ALS", "random", "transitions", "ALS")})
    scorers, trials = build_baselines(tastes, VALID, config)
    assert [scorer.name for scorer in scorers] == ["ALS", "random", "transitions"]
    assert {trial.baseline for trial in trials} == {"ALS", "transitions"}


def test_a_setting_is_chosen_by_its_hit_rate_on_the_pairs_given(tuned: Tuned) -> None:
    scorers, trials = tuned
    for scorer in scorers:
        own = [trial for trial in trials if trial.baseline == scorer.name]
        if scorer.name in ("random", "popularity"):
            assert own == []
            continue
        (chosen,) = [trial for trial in own if trial.chosen]
        ranks = rank_pairs(scorer, VALID.query_row, VALID.positive_row, 10, 64)
        assert chosen.settings == getattr(scorer, "settings", None)
        assert chosen.hit_rate == pytest.approx(hit_rate(ranks, 3))
        assert chosen.hit_rate == max(trial.hit_rate for trial in own)


@pytest.mark.parametrize("choose_by", ["mrr", "both"])
def test_or_by_the_mrr_or_both_as_the_models_epoch_is(
    tastes: Evidence, choose_by: ChooseBy
) -> None:
    config = CONFIG.model_copy(update={"ks": (1, 6)})  # two measures that may differ
    scorers, trials = build_baselines(tastes, VALID, config, choose_by)
    for scorer in scorers[2:]:
        own = [trial for trial in trials if trial.baseline == scorer.name]
        (chosen,) = [trial for trial in own if trial.chosen]
        ranks = rank_pairs(scorer, VALID.query_row, VALID.positive_row, 10, 64)
        assert chosen.mrr == pytest.approx(float((1 / ranks).mean()))
        power = 0.0 if choose_by == "mrr" else 0.5
        score = [t.hit_rate**power * t.mrr ** (1 - power) for t in own]
        assert own[int(np.argmax(score))] == chosen


def test_every_baseline_tries_as_many_settings_as_the_budget_says(tuned: Tuned) -> None:
    trials = tuned[1]
    for name in {trial.baseline for trial in trials}:
        own = [dict(trial.settings) for trial in trials if trial.baseline == name]
        assert len(own) == 3
        assert all(settings not in own[:n] for n, settings in enumerate(own))
    assert all(trial.seconds >= 0 for trial in trials)


def test_transitions_rest_on_the_item_knn_that_was_chosen(tuned: Tuned) -> None:
    by_name = {scorer.name: scorer for scorer in tuned[0]}
    transitions, knn = by_name["transitions"], by_name["item-kNN"]
    assert isinstance(transitions, TransitionScorer)
    assert transitions.fallback is knn
    assert isinstance(knn, ItemKNNScorer)
    assert knn.settings == chosen_settings(tuned[1], "item-kNN")


def test_the_same_seed_tries_and_chooses_the_same(tastes: Evidence, tuned: Tuned) -> None:
    scorers, trials = build_baselines(tastes, VALID, CONFIG)
    assert [replace(trial, seconds=0) for trial in trials] == [
        replace(trial, seconds=0) for trial in tuned[1]
    ]
    for one, other in zip(scorers, tuned[0], strict=True):
        assert np.array_equal(one.score(EVERY), other.score(EVERY))


def test_validation_pairs_choose_among_settings_and_change_nothing_else(tastes: Evidence) -> None:
    """With one setting to try there is no choice: other pairs give the same scores, bit for bit."""
    config = CONFIG.model_copy(update={"trials": 1})
    first, _ = build_baselines(tastes, VALID, config)
    second, _ = build_baselines(tastes, walk(2, 50), config)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.score(EVERY), other.score(EVERY))


def test_without_a_pair_to_choose_on_the_first_setting_is_taken(tastes: Evidence) -> None:
    none = VALID.take(np.array([], dtype=np.int64))
    config = CONFIG.model_copy(update={"baselines": ("item-kNN",)})
    _, trials = build_baselines(tastes, none, config)
    assert [trial.chosen for trial in trials] == [True, False, False]


def test_content_knn_is_left_out_with_its_reason_where_there_is_no_catalog(
    tastes: Evidence, caplog: pytest.LogCaptureFixture
) -> None:
    config = CONFIG.model_copy(update={"baselines": ("content-kNN", "popularity")})
    with caplog.at_level(logging.WARNING):
        scorers, trials = build_baselines(replace(tastes, content=None), VALID, config)
    assert [scorer.name for scorer in scorers] == ["popularity"]
    assert trials == []
    assert "content-kNN is left out: the catalog has no columns" in caplog.text


def test_no_baseline_left_is_an_error(tastes: Evidence) -> None:
    config = CONFIG.model_copy(update={"baselines": ("content-kNN",)})
    with pytest.raises(ConfigError, match=r"evaluation\.baselines: content-kNN needs"):
        build_baselines(replace(tastes, content=None), VALID, config)


def test_a_missing_package_is_named_before_any_work(
    tastes: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gensim", None)  # as Python records what is not there
    unreadable = replace(tastes, interactions=Path("nowhere.parquet"))
    with pytest.raises(MissingExtraError) as raised:
        build_baselines(unreadable, VALID, CONFIG)
    assert str(raised.value) == (
        "evaluation.baselines: not installed: gensim (for item2vec); run: pip install "
        "'pinsage-pipeline[baselines]', or set evaluation.baselines without item2vec"
    )


def test_all_missing_packages_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("gensim", "implicit"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtraError, match=r"implicit \(for ALS, BPR\), gensim \(for item2vec\); run: pip"
    ):
        require_packages(EvaluationConfig())
    require_packages(EvaluationConfig(baselines=("EASE", "Pixie", "content-kNN")))


def test_importing_the_baselines_imports_none_of_their_packages() -> None:
    code = (
        "import sys, pinsage.evaluation.tuning\n"
        "print({'gensim', 'implicit', 'scipy.sparse', 'torch_frame'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
