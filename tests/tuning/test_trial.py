"""One trial against the store: trained, found again, or impossible."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pinsage import stages
from pinsage.config import Config, changed
from pinsage.errors import TrainingError
from pinsage.store import Store
from pinsage.training.loop import EpochReport
from pinsage.tuning.space import Space
from pinsage.tuning.stages import study_of
from pinsage.tuning.study import Attempt
from pinsage.tuning.trial import run_attempt


@pytest.fixture
def root(tiny_run: SimpleNamespace, tmp_path: Path) -> Path:
    shutil.copytree(tiny_run.config.root / "stages", tmp_path / "stages")
    return tmp_path


def test_a_training_that_the_store_has_is_not_done_again_but_its_epochs_are_told(
    tiny_run: SimpleNamespace, root: Path
) -> None:
    config: Config = tiny_run.config
    store = Store(root)
    heard: list[EpochReport] = []
    with study_of(Space.of(config), store, tiny_run.split) as study:
        for attempt in study.attempts(1):  # the base, which has been trained
            outcome = run_attempt(
                study, attempt, store, tiny_run.split, tiny_run.graph, on_epoch=heard.append
            )
            told = attempt._trial.study.get_trials()[0].intermediate_values
    assert outcome.trained is not None
    assert outcome.trained.reused
    assert heard == []
    assert sorted(told) == [1, 2]
    assert outcome.score == max(told.values()) == tiny_run.train.facts["best_hit_rate_10"]


def test_a_trial_is_scored_by_what_chooses_the_epoch(tiny_run: SimpleNamespace, root: Path) -> None:
    config = changed(tiny_run.config, {"training.choose_by": "both"})
    with study_of(Space.of(config), Store(root), tiny_run.split) as study:
        attempt = next(iter(study.attempts(1)))
        outcome = run_attempt(study, attempt, Store(root), tiny_run.split, tiny_run.graph)
    assert outcome.trained is not None
    facts = outcome.trained.facts
    root_of_product = (facts["best_hit_rate_10"] * facts["best_mrr"]) ** 0.5
    assert outcome.score == pytest.approx(root_of_product)


def test_settings_that_cannot_be_trained_with_do_not_end_the_study(
    tiny_run: SimpleNamespace, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any, **__: Any) -> None:
        raise TrainingError("the loss became inf")

    monkeypatch.setattr(stages, "train", diverge)
    store = Store(root)
    with study_of(Space.of(tiny_run.config), store, tiny_run.split) as study:
        outcomes = [
            run_attempt(study, attempt, store, tiny_run.split, tiny_run.graph)
            for attempt in study.attempts(2)
        ]
    assert [(each.state, each.note) for each in outcomes] == [("failed", "the loss became inf")] * 2


def test_another_base_is_another_study(tiny_run: SimpleNamespace, root: Path) -> None:
    config: Config = tiny_run.config
    store = Store(root)

    def begin(base: Config) -> int:
        with study_of(Space.of(base), store, tiny_run.split) as study:
            for attempt in study.attempts(1):
                assert isinstance(attempt, Attempt)
                study.complete(attempt, 0.5, epochs=1, seconds=0.0)
                return 1
            return 0

    assert begin(config) == 1
    assert begin(config) == 0
    assert begin(config.model_copy(update={"seed": 7})) == 1
    assert begin(config.model_copy(update={"root": Path("elsewhere")})) == 0
    assert begin(changed(config, {"graph.window_days": 30.0})) == 1
    nothing = {"graph.memory_mib": 64, "data.memory_mib": 4096, "neighbourhoods.device": "auto"}
    assert begin(changed(config, nothing)) == 0
