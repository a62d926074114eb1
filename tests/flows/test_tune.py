"""The tuning flow for real, on the small data, with the test period taken away."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from flows.settings import mlflow_database
from flows.train import train
from flows.tune import tune
from pinsage import stages
from pinsage.config import Config, load_config
from pinsage.config_text import to_toml
from pinsage.errors import AbandonedError
from pinsage.evaluation.baselines.grids import GRIDS
from pinsage.store import Artifact, Store
from pinsage.tuning.study import Attempt

TRIALS = 4
BASELINES = ["random", "item-kNN", "EASE", "transitions"]

pytestmark = pytest.mark.usefixtures("prefect_api")


def without_test_period(config: Config, store: Store, ingested: Artifact) -> Artifact:
    """The split, whose test file is then removed: opening it would fail."""
    parts = _split(config, store, ingested)
    parts.file("test.parquet").unlink(missing_ok=True)
    return parts


_split = stages.split


@dataclass(frozen=True)
class Tuned:
    """A finished tuning, and the MLflow runs of its experiment."""

    config: Config
    concluded: Artifact
    parent: Run
    children: dict[str, Run]


def runs_of(config: Config) -> list[Run]:
    client = mlflow.MlflowClient(mlflow_database(config.root))
    experiment = client.get_experiment_by_name(config.name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, make_tiny_config: Any) -> Config:
    config: Config = make_tiny_config(
        tmp_path_factory.mktemp("tune"),
        training={"epochs": 1},
        evaluation={"baselines": BASELINES},
    )
    return config


@pytest.fixture(scope="module")
def tuned(prefect_api: None, base: Config) -> Tuned:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "split", without_test_period)
        concluded = tune(base, trials=TRIALS)
    [split] = (base.root / "stages" / "split").iterdir()
    assert not (split / "test.parquet").exists()
    runs = runs_of(base)
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    return Tuned(base, concluded, parent, children)


def profile_over_base(tuned: Tuned, folder: Path) -> Config:
    below = folder / "base.toml"
    below.write_text(to_toml(tuned.config))
    return load_config([below, tuned.concluded.file("best.toml")])


def test_it_tunes_without_the_test_period(tuned: Tuned) -> None:
    assert set(tuned.concluded.manifest.files) == {
        "best.toml", "table.md", "trials.json", "history.png",
    }  # fmt: skip
    assert tuned.concluded.facts["num_trials"] == TRIALS


def test_the_model_and_every_baseline_have_the_same_budget(tuned: Tuned) -> None:
    trials = json.loads(tuned.concluded.file("trials.json").read_text())
    assert len(trials) == TRIALS
    [folder] = (tuned.config.root / "stages" / "tune-baselines").iterdir()
    tried = [each["baseline"] for each in json.loads((folder / "trials.json").read_text())]
    counts = {name: tried.count(name) for name in GRIDS if name in tried}
    assert counts == dict.fromkeys(("item-kNN", "transitions", "EASE"), TRIALS)


def test_the_profile_is_the_best_trial_laid_over_the_base(tuned: Tuned, tmp_path: Path) -> None:
    config = profile_over_base(tuned, tmp_path)
    trials = json.loads(tuned.concluded.file("trials.json").read_text())
    best = max((each for each in trials if each["value"]), key=lambda each: each["value"])
    assert config.training.learning_rate == best["settings"]["training.learning_rate"]
    assert config.model.hidden == best["settings"]["model.hidden"]
    assert config.evaluation.trials == TRIALS  # what the baselines of a run are tuned with
    assert config.data == tuned.config.data
    text = tuned.concluded.file("best.toml").read_text()
    assert text.startswith(f"# Trial {best['number']}, the best of {TRIALS} on validation")
    copy = tuned.config.root / "tuning" / "tiny.toml"
    assert copy.read_text() == text


def test_a_run_with_the_profile_finds_the_model_that_was_chosen(
    tuned: Tuned, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "split", _split)
        [split] = (tuned.config.root / "stages" / "split").iterdir()
        for file in split.iterdir():
            file.unlink()
        split.rmdir()  # made anew, with its test period
        trained = train(profile_over_base(tuned, tmp_path))
    assert trained.reused
    assert trained.facts["best_hit_rate_10"] == tuned.concluded.facts["best_score"]


def test_every_trial_is_a_nested_run_with_its_settings_and_score(tuned: Tuned) -> None:
    parent = tuned.parent.info.run_id
    for number in range(1, TRIALS + 1):
        run = tuned.children[f"trial {number}"]
        assert run.data.tags["mlflow.parentRunId"] == parent
        assert run.data.tags["method"] == "PinSage"
        assert run.data.tags["state"] == "complete"
        assert "training.learning_rate" in run.data.params
        assert 0.0 <= run.data.metrics["valid_score"] <= 1.0
        assert "valid_hit_rate_10" in run.data.metrics  # the curve
    ease = [run for run in tuned.children.values() if run.data.tags.get("method") == "EASE"]
    assert len(ease) == TRIALS
    assert [run.data.tags["chosen"] for run in ease].count("true") == 1
    assert all("regularization" in run.data.params for run in ease)


def test_the_parent_has_profile_table_and_history(tuned: Tuned) -> None:
    client = mlflow.MlflowClient(mlflow_database(tuned.config.root))
    files = {file.path for file in client.list_artifacts(tuned.parent.info.run_id)}
    assert {"best.toml", "table.md", "history.png", "trials.json"} <= files
    assert "| **PinSage** |" in tuned.parent.data.tags["mlflow.note.content"]


def test_prefect_shows_the_profile_and_the_table(tuned: Tuned) -> None:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        shown = {each.key: each for each in client.read_artifacts()}
    assert "```toml" in str(shown["tuning"].data)
    assert "| item-kNN |" in str(shown["tuning"].data)


def test_a_tuning_stopped_in_a_trial_goes_on_and_a_pruned_trial_leaves_nothing(
    base: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = base.model_copy(update={"root": tmp_path / "var"})
    after_epoch = Attempt.after_epoch

    def stop(self: Attempt, epoch: int, score: float) -> None:
        raise KeyboardInterrupt

    def prune(self: Attempt, epoch: int, score: float) -> None:
        after_epoch(self, epoch, score)
        if self.name == "trial 3":
            raise AbandonedError("trial 3: below the median")

    tune(config, trials=1)
    monkeypatch.setattr(Attempt, "after_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        tune(config, trials=3)
    database = config.root / "tuning" / "tiny.db"
    assert states(database) == ["COMPLETE", "RUNNING"]

    monkeypatch.setattr(Attempt, "after_epoch", prune)
    concluded = tune(config, trials=3)
    assert states(database) == ["COMPLETE", "FAIL", "PRUNED", "COMPLETE"]
    trials = json.loads(concluded.file("trials.json").read_text())
    assert [each["state"] for each in trials] == ["complete", "pruned", "complete"]
    assert len(list((config.root / "stages" / "train").iterdir())) == 2
    assert not [path for path in (config.root / "scratch" / "train").iterdir() if path.is_dir()]
    assert tune(config, trials=3).reused


def states(database: Path) -> list[str]:
    with sqlite3.connect(database) as connection:
        rows = connection.execute("SELECT state FROM trials ORDER BY number").fetchall()
    connection.close()
    return [row[0] for row in rows]
