"""The nightly flow for real: Prefect's API in a child process, MLflow on a SQLite file."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import mlflow
import pytest
from mlflow.entities import Run

from flows.evaluate import evaluate
from flows.nightly import nightly
from flows.settings import MLFLOW_VIEW, mlflow_database
from flows.train import train
from flows.validate import validate
from pinsage.config import Config
from pinsage.drift.night import read_nights
from pinsage.errors import ContractError
from pinsage.retrieval.published import load_published
from pinsage.retrieval.shelf import shelf
from pinsage.retrieval.versions import current_version

STAGES = [
    "snapshot", "validate", "ingest", "split", "input-drift", "graph-train",
    "neighbourhoods-train", "train", "evaluate", "graph-full", "neighbourhoods-full", "embed",
    "validate-embeddings", "embedding-drift", "champion", "compare", "index", "contexts", "report",
    "infra", "decide",
]  # fmt: skip
OUTCOMES = ["publish", "register", "promote"]  # a version that is followed is not promoted again

pytestmark = pytest.mark.usefixtures("prefect_api")


def book_of(config: Config, run_id: str) -> dict[str, Any]:
    book: dict[str, Any] = json.loads((config.root / "runs" / f"{run_id}.json").read_text())
    return book


def only_book(config: Config) -> dict[str, Any]:
    [file] = (config.root / "runs").iterdir()
    return book_of(config, file.stem)


def children_of(config: Config, parent: str | None) -> dict[str, Run]:
    client = mlflow.MlflowClient(mlflow_database(config.root))
    experiment = client.get_experiment_by_name(config.name)
    assert experiment is not None
    found = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    return {run.info.run_name: run for run in found}


def artifacts_of_flow_run(name: str) -> dict[str, Any]:
    """Prefect artifacts, by key, of the latest run of a flow."""
    from prefect import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        FlowFilter,
        FlowFilterName,
    )
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        [run] = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[name])),
            sort=FlowRunSort.START_TIME_DESC,
            limit=1,
        )
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        )
    return {artifact.key: artifact for artifact in found if artifact.key}


def test_everything_is_built_published_and_registered(first_night: Any) -> None:
    config, result = first_night.config, first_night.result
    assert current_version(config.root, config.name) == result.version
    assert load_published(config.root, config.name).version == result.version
    assert result.model == "models:/pinsage-tiny@champion"
    assert result.metrics["test_mrr"] > 0


def test_the_record_names_the_artifact_of_every_stage(first_night: Any) -> None:
    book = book_of(first_night.config, first_night.result.run_id)
    assert list(book["stages"]) == STAGES
    assert book["state"] == "completed"
    assert book["published"] == first_night.result.version
    assert book["mlflow_run_id"] == first_night.result.mlflow_run_id
    assert not any(entry["reused"] for entry in book["stages"].values())


def test_every_stage_is_a_finished_child_run(first_night: Any) -> None:
    children = children_of(first_night.config, first_night.result.mlflow_run_id)
    assert sorted(children) == sorted(STAGES + OUTCOMES)
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def test_the_parent_run_has_results_data_sets_and_a_description(first_night: Any) -> None:
    client = mlflow.MlflowClient(mlflow_database(first_night.config.root))
    parent = client.get_run(first_night.result.mlflow_run_id)
    assert parent.data.metrics["test_mrr"] == first_night.result.metrics["test_mrr"]
    assert first_night.result.version in parent.data.tags["mlflow.note.content"]
    assert "| PinSage |" in parent.data.tags["mlflow.note.content"]
    assert parent.inputs is not None
    names = {each.dataset.name for each in parent.inputs.dataset_inputs}
    assert names == {"tiny-interactions", "tiny-items"}


def test_the_data_docs_are_kept_with_the_run_of_the_contract(first_night: Any) -> None:
    client = mlflow.MlflowClient(mlflow_database(first_night.config.root))
    children = children_of(first_night.config, first_night.result.mlflow_run_id)
    for stage in ("validate", "validate-embeddings"):
        files = client.list_artifacts(children[stage].info.run_id, "data_docs")
        assert "data_docs/index.html" in [file.path for file in files]


def test_prefect_shows_results_progress_and_links(first_night: Any) -> None:
    shown = artifacts_of_flow_run("nightly")
    assert {"results", "results-table", "training-progress", "mlflow-run"} <= set(shown)
    assert {"data-docs-validate", "contract-validate"} <= set(shown)
    assert first_night.result.mlflow_run_id in str(shown["mlflow-run"].data)
    pages = {"report-page": "report.html", "data-docs-validate": "index.html", "trend": "trend.png"}
    for key, file in pages.items():
        address = str(shown[key].data).partition("](")[2].partition(")")[0]
        assert address.partition("?")[0].endswith(file)  # a path behind the view opens nothing
        assert address.endswith(MLFLOW_VIEW)


def test_the_verdict_is_shown_in_both_pages_and_kept(first_night: Any) -> None:
    result, config = first_night.result, first_night.config
    assert (result.verdict, result.promoted) == ("promote", True)
    assert "nothing else is published for tiny yet" in result.reasons[0]
    client = mlflow.MlflowClient(mlflow_database(config.root))
    parent = client.get_run(result.mlflow_run_id)
    tags, metrics = parent.data.tags, parent.data.metrics
    assert (tags["gate.verdict"], tags["trigger"]) == ("promote", "command line")
    assert tags["data.version"]
    assert tags["mlflow.note.content"].split("\n")[2] == "**Verdict: promote.**"
    note = tags["mlflow.note.content"]
    for part in (result.reasons[0].partition(": ")[2], "/artifacts/report.html"):
        assert part in note
    assert f"[Prefect run]({tags['prefect.flow_run_url']})" in note
    assert metrics["gate.promoted"] == 1.0
    assert metrics["drift.input-drift.block"] == 0.0
    assert metrics["system/system_memory_usage_megabytes"] > 0
    files = {file.path for file in client.list_artifacts(result.mlflow_run_id)}
    assert {"decision.json", "decision.md", "figures"} <= files
    figures = {file.path for file in client.list_artifacts(result.mlflow_run_id, "figures")}
    assert "figures/trend.png" in figures
    children = children_of(config, result.mlflow_run_id)
    assert children["evaluate"].data.metrics["slice.support.warm.mrr"] > 0
    assert children["infra"].data.metrics["neighbours"] == 3.0

    shown = artifacts_of_flow_run("nightly")
    assert {"gate", "gate-table", "drift", "trend"} <= set(shown)
    assert "readers follow the new version" in shown["gate"].data
    assert "| 2024-" in shown["trend"].data
    book = book_of(config, result.run_id)
    assert (book["verdict"], book["promoted"], book["night"]["rows"]) == ("promote", True, 1800)
    assert len(read_nights(shelf(config.root, config.name))) == 1


def test_an_unchanged_second_night_runs_nothing_and_publishes_the_same(first_night: Any) -> None:
    again = nightly(first_night.config)
    book = book_of(first_night.config, again.run_id)
    assert [name for name, entry in book["stages"].items() if not entry["reused"]] == []
    assert again.version == first_night.result.version
    assert again.metrics == first_night.result.metrics
    assert again.mlflow_run_id != first_night.result.mlflow_run_id
    children = children_of(first_night.config, again.mlflow_run_id)
    assert sorted(children) == sorted([*STAGES, "publish", "register"])
    assert {run.data.tags["reused"] for run in children.values()} == {"true"}
    assert (again.verdict, again.promoted) == ("promote", True)
    client = mlflow.MlflowClient(mlflow_database(first_night.config.root))
    assert len(client.search_model_versions("name = 'pinsage-tiny'")) == 1


def test_a_stage_flow_finds_what_the_night_has_built(first_night: Any) -> None:
    evaluated = evaluate(first_night.config)
    assert evaluated.reused
    assert evaluated.facts["test_mrr"] == first_night.result.metrics["test_mrr"]


def test_training_below_another_run_records_only_the_training(first_night: Any) -> None:
    client = mlflow.MlflowClient(mlflow_database(first_night.config.root))
    experiment = client.get_experiment_by_name(first_night.config.name)
    assert experiment is not None
    parent = client.create_run(experiment.experiment_id).info.run_id
    train(first_night.config, tracked_run=parent)
    assert list(children_of(first_night.config, parent)) == ["train"]
    assert client.get_run(parent).info.status == "RUNNING"


def test_a_broken_contract_stops_the_run_before_work_is_spent(tiny_config: Config) -> None:
    contract = tiny_config.contract.model_copy(update={"min_interactions": 10**6})
    state = nightly(tiny_config.model_copy(update={"contract": contract}), return_state=True)
    assert state.is_failed()
    assert state.message is not None
    for part in ("ContractError", "at least 1,000,000", "1800", "contract.min_interactions"):
        assert part in state.message
    book = only_book(tiny_config)
    assert list(book["stages"]) == ["snapshot", "validate"]
    assert book["state"] == "failed"
    assert not list((tiny_config.root / "published").glob("*/CURRENT"))

    children = children_of(tiny_config, book["mlflow_run_id"])
    client = mlflow.MlflowClient(mlflow_database(tiny_config.root))
    assert client.get_run(book["mlflow_run_id"]).info.status == "FAILED"
    assert children["validate"].info.status == "FAILED"
    docs = client.list_artifacts(children["validate"].info.run_id, "data_docs")
    assert "data_docs/index.html" in [file.path for file in docs]
    assert "is broken" in artifacts_of_flow_run("nightly")["contract-validate"].data


def test_the_contracts_error_reaches_the_caller(tiny_config: Config) -> None:
    contract = tiny_config.contract.model_copy(update={"min_users": 10**6})
    with pytest.raises(ContractError, match="1,000,000 users"):
        validate(tiny_config.model_copy(update={"contract": contract}))


def test_without_mlflow_the_night_still_publishes(
    first_night: Any, make_tiny_config: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    folder = first_night.config.root.parent
    config = make_tiny_config(folder, tracking={"uri": "http://127.0.0.1:9"})
    with caplog.at_level(logging.WARNING):
        result = nightly(config)
    assert result.version == first_night.result.version
    assert (result.mlflow_run_id, result.model) == (None, None)
    assert "goes on without tracking" in caplog.text
