"""MLflow for real, on a SQLite file; and MLflow gone, which stops nothing."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest
from mlflow.entities import Run

from flows import tracking
from flows.machine import PREFIX, Meter, sampled
from flows.settings import mlflow_database
from flows.tracking import connected, tracking_uri
from pinsage.config import Config, TrackingConfig
from pinsage.store import Artifact
from pinsage.training.loop import EpochReport

NOBODY = "http://127.0.0.1:9"  # the discard port: refused at once


def client_of(config: Config) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(mlflow_database(config.root), mlflow_database(config.root))


def runs_of(config: Config) -> dict[str, Run]:
    client = client_of(config)
    experiment = client.get_experiment_by_name(config.name)
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def pointing_at(config: Config, uri: str) -> Config:
    return config.model_copy(update={"tracking": TrackingConfig(uri=uri)})


@pytest.fixture
def evaluated(tiny_run: SimpleNamespace) -> Artifact:
    artifact: Artifact = tiny_run.evaluate
    return artifact


def test_a_stage_becomes_a_child_run_with_what_made_it(
    tiny_config: Config, evaluated: Artifact
) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {"dataset": "tiny"})
        with tracker.stage("evaluate") as child:
            child.artifact(evaluated)
        tracker.parent.end()
    runs = runs_of(tiny_config)
    parent, run = runs["nightly"], runs["evaluate"]
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.tags["artifact.key"] == evaluated.manifest.key
    assert run.data.params["bootstrap"] == "100"
    assert run.data.metrics["test_mrr"] == evaluated.facts["test_mrr"]
    assert run.data.metrics["seconds"] == evaluated.manifest.seconds
    files = [file.path for file in client_of(tiny_config).list_artifacts(run.info.run_id)]
    assert "table.md" in files
    assert "results.parquet" not in files
    assert (parent.info.status, run.info.status) == ("FINISHED", "FINISHED")


def test_plots_lie_where_the_page_that_compares_runs_shows_them(
    tiny_config: Config, tiny_run: SimpleNamespace
) -> None:
    drawn = {Path(name).name for name in tiny_run.report.manifest.files if name.endswith(".png")}
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        tracker.parent.pictures(tiny_run.report)
    parent = runs_of(tiny_config)["nightly"]
    found = client_of(tiny_config).list_artifacts(parent.info.run_id)
    assert {file.path for file in found if file.path.endswith(".png")} == drawn
    assert drawn


def test_the_parent_run_keeps_the_configuration(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
    parent = runs_of(tiny_config)["nightly"]
    assert parent.data.params["training.batch_size"] == "64"
    [file] = client_of(tiny_config).list_artifacts(parent.info.run_id)
    assert file.path == "config.toml"


def test_the_training_curve_is_kept_by_step(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        with tracker.stage("train") as child:
            for epoch, loss in ((1, 0.5), (2, 0.25)):
                child.epoch(EpochReport(epoch, 10 * epoch, loss, {"mrr": 0.1 * epoch}, 1e-3, 2.0))
    run_id = runs_of(tiny_config)["train"].info.run_id
    curve = client_of(tiny_config).get_metric_history(run_id, "loss")
    assert [(point.step, point.value) for point in curve] == [(10, 0.5), (20, 0.25)]
    assert client_of(tiny_config).get_metric_history(run_id, "valid_mrr")[1].value == 0.2


def test_a_data_set_is_logged_with_the_rows_of_the_file_and_its_digest(
    tiny_config: Config, tiny_run: SimpleNamespace
) -> None:
    landed = tiny_run.snapshot
    file, digest = landed.file("interactions.parquet"), landed.digest("interactions.parquet")
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        tracker.parent.dataset("tiny-interactions", file, digest, "source")
    inputs = runs_of(tiny_config)["nightly"].inputs
    assert inputs is not None
    [found] = inputs.dataset_inputs
    assert found.dataset.digest == digest
    assert '"num_rows": 1800' in str(found.dataset.profile)
    assert "user_id" in str(found.dataset.schema)


class TestSystemMetrics:
    def test_a_training_of_a_second_has_a_sample_and_other_stages_have_none(
        self, tiny_config: Config
    ) -> None:
        with connected(tiny_config) as tracker:
            tracker.begin("nightly", {})
            with tracker.stage("train"):
                busy(1.0)
                assert samplers()
            assert not samplers()
            with tracker.stage("graph"):
                busy(1.0)
        runs = runs_of(tiny_config)
        found = system_metrics(runs["train"])
        assert found["system/cpu_utilization_percentage"] > 0
        assert found["system/system_memory_usage_megabytes"] > 0
        assert {"system/disk_available_megabytes", "system/network_receive_megabytes"} <= set(found)
        assert system_metrics(runs["graph"]) == {}

    def test_steps_are_as_far_apart_as_mlflows_variable_says_and_the_first_measures(
        self, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.25")
        with connected(tiny_config) as tracker:
            tracker.begin("nightly", {})
            with tracker.measured(lambda: tracker.parent):
                busy(1.5)
        run_id = runs_of(tiny_config)["nightly"].info.run_id
        curve = client_of(tiny_config).get_metric_history(
            run_id, "system/cpu_utilization_percentage"
        )
        assert len(curve) >= 3
        assert [point.step for point in curve] == list(range(len(curve)))
        assert curve[0].value > 0

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_the_thread_ends_with_a_run_that_fails_or_is_interrupted(
        self, tiny_config: Config, error: type[BaseException]
    ) -> None:
        with connected(tiny_config) as tracker:
            tracker.begin("nightly", {})
            with suppress(error), tracker.stage("train"):
                assert samplers()
                raise error
            assert not samplers()

    def test_an_mlflow_that_is_gone_is_warned_of_once_and_not_waited_for(
        self,
        tiny_config: Config,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        with connected(tiny_config) as tracker:
            tracker.begin("nightly", {})
            run_id = tracker.parent.run_id
        with connected(pointing_at(tiny_config, NOBODY)) as gone:
            lost = tracking.TrackedRun(gone.link, run_id)
            with gone.measured(lambda: lost):
                busy(1.0)
                ended = time.monotonic()
        assert time.monotonic() - ended < 5
        assert not samplers()
        assert len([line for line in caplog.messages if "goes on without tracking" in line]) == 1

    def test_mlflows_own_variable_switches_it_off(
        self, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
        with connected(tiny_config) as tracker:
            tracker.begin("nightly", {})
            with tracker.stage("train"):
                assert not samplers()

    def test_a_machine_that_cannot_be_measured_is_said_and_stops_nothing(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def none() -> Meter:
            raise OSError("no /proc here")

        with sampled(none, lambda values, step: None):
            pass
        assert "this machine cannot be measured (no /proc here)" in caplog.text


def busy(seconds: float) -> None:
    """Compute for so long: the processor's share is then above 0."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))


def samplers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "system-metrics"]


def system_metrics(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.data.metrics.items() if name.startswith(PREFIX)}


def test_a_failed_stage_is_recorded_as_failed_with_its_message(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        with suppress(ValueError), tracker.stage("graph"):
            raise ValueError("no such luck")
    run = runs_of(tiny_config)["graph"]
    assert run.info.status == "FAILED"
    assert "no such luck" in run.data.tags["mlflow.note.content"]


def test_an_interrupted_stage_is_recorded_as_killed(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        with suppress(KeyboardInterrupt), tracker.stage("graph"):
            raise KeyboardInterrupt
    assert runs_of(tiny_config)["graph"].info.status == "KILLED"


def test_another_process_can_record_below_a_parent_run(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
        parent = tracker.parent.run_id
    assert parent is not None
    with connected(tiny_config) as other:
        other.attach(parent)
        with other.stage("train"):
            pass
    assert runs_of(tiny_config)["train"].data.tags["mlflow.parentRunId"] == parent
    assert runs_of(tiny_config)["nightly"].info.status == "RUNNING"  # its own process will end it


def test_without_mlflow_the_work_is_done_with_one_warning_and_no_waiting(
    tiny_config: Config, evaluated: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with connected(pointing_at(tiny_config, NOBODY)) as tracker:
        tracker.begin("nightly", {})
        for stage in ("graph", "train", "evaluate"):
            with tracker.stage(stage) as child:
                child.artifact(evaluated)
        tracker.parent.end()
    assert time.monotonic() - started < 10
    assert tracker.parent.run_id is None
    assert tracker.url is None
    warnings = [line for line in caplog.messages if "goes on without tracking" in line]
    assert len(warnings) == 1
    assert NOBODY in warnings[0]


def test_an_mlflow_that_comes_back_is_used_again(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "RETRY_AFTER", 0.0)
    with connected(pointing_at(tiny_config, NOBODY)) as tracker:
        tracker.begin("nightly", {})
        assert tracker.parent.run_id is None
        tracker.link.uri = mlflow_database(tiny_config.root)
        del tracker.link.client
        with tracker.stage("train"):
            pass
    assert set(runs_of(tiny_config)) == {"nightly", "train"}


def test_an_experiment_kept_by_a_server_is_refused_with_the_way_out(
    tiny_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    client_of(tiny_config).create_experiment(tiny_config.name, "mlflow-artifacts:/1")
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
    assert tracker.parent.run_id is None
    assert "set tracking.uri to its address" in caplog.text


def test_the_address_is_the_configured_one_then_the_environments_then_a_file(
    tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(tiny_config) == mlflow_database(tiny_config.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment")
    assert tracking_uri(tiny_config) == "http://environment"
    assert tracking_uri(pointing_at(tiny_config, "http://configured")) == "http://configured"


def test_a_run_leaves_the_environment_as_it_found_it(tiny_config: Config) -> None:
    with connected(tiny_config):
        assert os.environ["MLFLOW_TRACKING_URI"] == mlflow_database(tiny_config.root)
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_artifacts_lie_below_the_root(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {})
    experiment = client_of(tiny_config).get_experiment_by_name(tiny_config.name)
    assert experiment is not None
    assert experiment.artifact_location == (tiny_config.root / "mlartifacts" / "tiny").as_uri()


def test_the_page_of_a_run_is_the_servers_where_there_is_one(tmp_path: Path) -> None:
    link = tracking.Link("http://tracking.example:5000/")
    tracker = tracking.Tracker(link, _any_config(tmp_path))
    url = tracker.url_of(tracking.TrackedRun(link, "abc"))
    assert url is not None
    assert url.startswith("http://tracking.example:5000/#/experiments/")
    assert url.endswith("/runs/abc?workflowType=machine_learning")


def _any_config(tmp_path: Path) -> Config:
    return Config.model_validate(
        {"name": "any", "root": tmp_path, "data": {"interactions": {"path": "x.csv"}}}
    )
