"""The ablation flow for real, on the small data: what it makes, finds again and resumes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
from mlflow.entities import Run
from typer.testing import CliRunner

from flows.ablation import ablation
from flows.settings import mlflow_database
from pinsage.ablation.variants import VARIANTS
from pinsage.cli import command_line
from pinsage.config import Config
from pinsage.errors import ConfigError
from pinsage.store import Artifact

ONLY = ["content only", "mean pooling, cross-entropy", "T = 10"]
NAMES = ["content only", "mean pooling, cross-entropy", "PinSage", "T = 10"]
SEEDS = 2

pytestmark = pytest.mark.usefixtures("prefect_api")


@dataclass(frozen=True)
class Ablated:
    """A finished ablation, and the MLflow runs of its experiment."""

    config: Config
    compared: Artifact
    parent: Run
    children: dict[str, Run]


def stages_of(config: Config, name: str) -> list[Path]:
    return sorted((config.root / "stages" / name).iterdir())


@pytest.fixture(scope="module")
def ablated(
    prefect_api: None, tmp_path_factory: pytest.TempPathFactory, make_tiny_config: Any
) -> Ablated:
    config = make_tiny_config(tmp_path_factory.mktemp("ablation"), training={"epochs": 1})
    compared = ablation(config, seeds=SEEDS, only=ONLY)
    client = mlflow.MlflowClient(mlflow_database(config.root))
    experiment = client.get_experiment_by_name(config.name)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    [parent] = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    return Ablated(config, compared, parent, children)


def test_every_row_is_trained_with_every_seed_and_the_rest_is_made_once(ablated: Ablated) -> None:
    config = ablated.config
    assert len(stages_of(config, "train")) == len(NAMES) * SEEDS
    assert len(stages_of(config, "ranks")) == len(NAMES) * SEEDS
    for stage in ("snapshot", "ingest", "split", "graph"):
        assert len(stages_of(config, stage)) == 1
    assert len(stages_of(config, "neighbourhoods")) == 2  # the base's T, and 10
    assert not (config.root / "stages" / "evaluate").exists()  # no baseline is run


def test_the_artifact_holds_table_numbers_and_figure(ablated: Ablated) -> None:
    files = set(ablated.compared.manifest.files)
    assert files == {"table.md", "results.parquet", "ablation.png"}
    rows = pq.read_table(ablated.compared.file("results.parquet")).to_pylist()
    assert list(dict.fromkeys(row["variant"] for row in rows)) == NAMES
    assert {row["period"] for row in rows} == {"valid", "test"}
    assert {row["num_seeds"] for row in rows} == {SEEDS}
    for row in rows:
        assert row["low"] <= row["value"] <= row["high"]
        assert sum(row["seed_values"]) / SEEDS == pytest.approx(row["value"])
        if row["variant"] == "PinSage":
            assert (row["difference_low"], row["difference_high"]) == (0.0, 0.0)


def test_a_trainings_own_metrics_are_those_of_the_table(ablated: Ablated) -> None:
    rows = pq.read_table(ablated.compared.file("results.parquet")).to_pylist()
    [row] = [
        row
        for row in rows
        if (row["period"], row["variant"], row["metric"]) == ("test", "T = 10", "mrr")
    ]
    runs = [ablated.children[f"T = 10, seed {2018 + number}"] for number in range(SEEDS)]
    assert [run.data.metrics["test_mrr"] for run in runs] == pytest.approx(row["seed_values"])


def test_one_parent_has_a_nested_child_with_settings_and_metrics_for_every_training(
    ablated: Ablated,
) -> None:
    trainings = [name for name in ablated.children if ", seed " in name]
    assert len(trainings) == len(NAMES) * SEEDS
    for name in trainings:
        run = ablated.children[name]
        assert run.data.tags["mlflow.parentRunId"] == ablated.parent.info.run_id
        assert run.info.status == "FINISHED"
        assert name.startswith(run.data.tags["variant"])
        assert {"valid_hit_rate_10", "test_mrr", "best_mrr", "loss"} <= set(run.data.metrics)
        assert run.data.params["seed"] in name
    content = ablated.children["content only, seed 2018"]
    assert content.data.params["model.layers"] == "0"


def test_the_parent_has_table_and_figure(ablated: Ablated) -> None:
    client = mlflow.MlflowClient(mlflow_database(ablated.config.root))
    files = {file.path for file in client.list_artifacts(ablated.parent.info.run_id)}
    assert {"table.md", "ablation.png"} <= files
    assert "| **PinSage** |" in ablated.parent.data.tags["mlflow.note.content"]


def test_prefect_shows_the_table_to_read_and_to_sort(ablated: Ablated) -> None:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        shown = {each.key: each for each in client.read_artifacts()}
    assert "| **PinSage** |" in str(shown["ablation"].data)
    assert len(json.loads(str(shown["ablation-table"].data))) == len(NAMES) * 2 * 4


def test_a_second_ablation_trains_only_what_is_new(ablated: Ablated, tmp_path: Path) -> None:
    config = ablated.config.model_copy(update={"root": tmp_path / "var"})
    shutil.copytree(ablated.config.root, config.root)
    again = ablation(config, seeds=SEEDS, only=ONLY)
    assert again.reused
    before = set(stages_of(config, "train"))
    more = ablation(config, seeds=SEEDS, only=[*ONLY, "max pooling"])
    assert not more.reused
    assert len(set(stages_of(config, "train")) - before) == SEEDS


def test_the_first_seed_of_the_base_is_the_training_of_a_nightly_run(ablated: Ablated) -> None:
    from flows.train import train

    [pinsage] = [variant for variant in VARIANTS if variant.name == "PinSage"]
    trained = train(pinsage.of(ablated.config, ablated.config.seed))
    assert trained.reused


KILLED = """
import json, sys
from pinsage import stages
from pinsage.ablation import stages as ablations
from pinsage.ablation.variants import Plan
from pinsage.config import parse_config
from pinsage.store import Store

config = parse_config(json.loads(sys.argv[1]))
plan = Plan.of(config, seeds=2, only=json.loads(sys.argv[2]))
store = Store(config.root)
ingest = stages.ingest(config, store, stages.snapshot(config, store))
split = stages.split(config, store, ingest)
graph = stages.graph(config, store, split, split)
for trial in plan.trials:
    table = stages.neighbourhoods(
        trial.config.model_copy(update={"seed": config.seed}), store, graph, split
    )
    trained = stages.train(trial.config, store, split, graph, table)
    ablations.rank(trial.config, store, split, graph, table, trained)
"""


def test_a_killed_ablation_goes_on_where_it_was(ablated: Ablated, tmp_path: Path) -> None:
    config = ablated.config.model_copy(update={"root": tmp_path / "var"})
    arguments = [json.dumps(config.model_dump(mode="json")), json.dumps(ONLY)]
    process = subprocess.Popen([sys.executable, "-c", KILLED, *arguments], start_new_session=True)
    trained = config.root / "stages" / "train"
    deadline = time.monotonic() + 120
    while len(list(trained.glob("[0-9a-f]*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name for path in trained.glob("[0-9a-f]*")}
    assert 2 <= len(done) < len(NAMES) * SEEDS
    compared = ablation(config, seeds=SEEDS, only=ONLY)
    rows, whole = (
        pq.read_table(each.file("results.parquet")).drop_columns(["seconds"]).to_pylist()
        for each in (compared, ablated.compared)
    )
    assert rows == whole
    assert done < {path.name for path in stages_of(config, "train")}


def test_an_unknown_row_is_refused_before_anything_is_started(
    ablated: Ablated, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'min pooling'; there are the groups"):
        ablation(ablated.config, only=["min pooling"])
    file = tmp_path / "c.toml"
    file.write_text(f'name = "films"\nroot = "{tmp_path}/var"\n[data.interactions]\npath = "x"\n')
    result = CliRunner().invoke(
        command_line(), ["ablation", "--config", str(file), "--only", "min pooling"]
    )
    assert result.exit_code == 2
    assert "'min pooling'; there are the groups" in " ".join(result.stderr.split())
    assert not (tmp_path / "var").exists()
