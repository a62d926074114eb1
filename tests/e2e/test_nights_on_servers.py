"""Nights on real servers: Prefect, MLflow over HTTP, a worker for each pool, killed in the middle.

The nights build on one another, in the order of the fixtures: the first, the next on one more day,
one that loses its workers, and those that a schedule starts once a worker is back.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from pinsage.config import Config
from pinsage.retrieval.published import load_published
from pinsage.retrieval.versions import current_version, list_versions
from tests.e2e.site import Site, asking_below, form_of, online, site, slot_of, state
from tests.receiver import Receiver, receiver

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

HOUR = 3600
LONG = {"epochs": 3000, "patience": 3000}  # a training that is still going on when it is killed
EVERY = 5.0  # seconds between runs of the schedule


@dataclass(frozen=True)
class Night:
    """A run of `nightly` that is over, and what readers followed then."""

    run: FlowRun
    current: str | None
    artifacts: dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nights")


@pytest.fixture(scope="module")
def make(folder: Path, make_tiny_config: Callable[..., Config]) -> Callable[..., dict[str, Any]]:
    """`make(training={…})`: parameters of a run over the small data set, without what costs."""
    cheap = {
        "evaluation": {"baselines": ["random", "popularity"], "bootstrap": 100, "trials": 1},
        "contexts": {"pool": "none"},
        "report": {"map_points": 100},
        # So few users can show nothing: what is undecided is let through.
        "gate": {"undecided": "promote", "min_overlap": 0.0},
    }

    def parameters(**changes: Any) -> dict[str, Any]:
        return {"config": make_tiny_config(folder, **cheap, **changes).model_dump(mode="json")}

    return parameters


@pytest.fixture(scope="module")
def alarms() -> Iterator[Receiver]:
    """Where the webhook of the automation for failed runs leads."""
    with receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def here(folder: Path, alarms: Receiver) -> Iterator[Site]:
    with site(folder, f"{alarms.url}/alarm") as up:
        for pool in ("cpu", "gpu"):
            up.start_worker(pool)
        up.until(lambda: all(online(up, pool) for pool in ("cpu", "gpu")), "both workers")
        yield up


@pytest.fixture(scope="module")
def first(here: Site, make: Callable[..., dict[str, Any]], folder: Path) -> tuple[Night, FlowRun]:
    """The first night, and one more that was started beside it."""
    run = here.trigger("nightly", make())
    here.until(lambda: state(here, run) in ("PENDING", "RUNNING"), "the first night's start")
    second = here.trigger("nightly", make())
    beside = here.finished(second)
    return night(here, run, folder), beside


@pytest.fixture(scope="module")
def next_night(
    here: Site, first: tuple[Night, FlowRun], make: Callable[..., dict[str, Any]], folder: Path
) -> Night:
    """The night after, on one more day of data."""
    one_more_day(folder / "data" / "interactions.csv")
    return night(here, here.trigger("nightly", make()), folder)


@dataclass(frozen=True)
class Lost:
    """What became of a night whose workers were killed, the training's first; `told` is what the
    webhook heard of it.
    """

    trainings: list[FlowRun]
    night: FlowRun
    waiting_for_a_slot: int
    told: list[str]


@pytest.fixture(scope="module")
def lost(
    here: Site, next_night: Night, make: Callable[..., dict[str, Any]], alarms: Receiver
) -> Lost:
    with here.watched():
        return lose(here, here.trigger("nightly", make(training=LONG)), alarms)


def lose(here: Site, run: FlowRun, alarms: Receiver) -> Lost:
    """Kill the workers of a night: that of its training, and both when it is training again."""
    before = len(here.runs("train"))

    def training(number: int) -> bool:
        found = here.runs("train")[before:]
        return len(found) == number and "training-progress" in here.artifacts(found[-1])

    here.until(lambda: training(1), "the training's first epoch")
    assert len(here.kill_worker("gpu")) >= 2  # the worker, and the run's own process
    here.start_worker("gpu")  # as systemd would
    here.until(lambda: training(2), "the training's second attempt")
    for pool in ("gpu", "cpu"):
        assert len(here.kill_worker(pool)) >= 2
    ended = here.finished(run)
    trainings = [here.finished(each) for each in here.runs("train")[before:]]
    limit = here.client.read_global_concurrency_limit_by_name(slot_of(here))

    def told() -> list[str]:
        return [each.body for each in alarms.told if f"/runs/flow-run/{run.id}" in each.body]

    return Lost(trainings, ended, limit.active_slots, here.until(told, "the webhook's call"))


def test_both_nights_complete_and_publish_a_version_each(
    first: tuple[Night, FlowRun], next_night: Night, folder: Path
) -> None:
    for each in (first[0], next_night):
        assert each.run.state is not None
        assert each.run.state.is_completed(), each.run.state.message
    assert first[0].current != next_night.current
    listed = [version.version for version in list_versions(folder / "var", "tiny")]
    assert {first[0].current, next_night.current} <= set(listed)


def test_both_trained_on_the_gpu_pool_below_the_nights_mlflow_run(
    here: Site, next_night: Night
) -> None:
    trained = here.runs("train")[:2]
    assert [run.state and run.state.type.value for run in trained] == ["COMPLETED", "COMPLETED"]
    assert {run.work_pool_name for run in trained} == {"gpu"}
    assert {run.work_pool_name for run in here.runs("nightly")} == {"cpu"}
    client = mlflow.MlflowClient(here.mlflow)
    children = client.search_runs(
        [experiment(client)], f"tags.`mlflow.parentRunId` = '{mlflow_run(next_night)}'"
    )
    assert "train" in [child.info.run_name for child in children]


def test_the_champion_is_the_newest_of_two_registered_versions(
    here: Site, next_night: Night
) -> None:
    client = mlflow.MlflowClient(here.mlflow)
    assert len(client.search_model_versions("name = 'pinsage-tiny'")) == 2
    champion = client.get_model_version_by_alias("pinsage-tiny", "champion")
    assert int(champion.version) == 2
    assert next_night.current is not None
    assert next_night.current in str(champion.tags)


def test_the_gates_decision_and_the_trend_are_shown_for_both_nights(
    here: Site, first: tuple[Night, FlowRun], next_night: Night
) -> None:
    client = mlflow.MlflowClient(here.mlflow)
    for each in (first[0], next_night):
        assert {"gate", "gate-table", "trend"} <= set(each.artifacts)
        run = client.get_run(mlflow_run(each))
        assert run.data.tags["gate.verdict"] == "promote"
        assert any(name.startswith("gate.") for name in run.data.metrics)
    figures = client.list_artifacts(mlflow_run(next_night), "figures")
    assert "figures/trend.png" in [figure.path for figure in figures]


def test_a_second_night_beside_the_first_is_cancelled(first: tuple[Night, FlowRun]) -> None:
    beside = first[1]
    assert beside.state is not None
    assert beside.state.is_cancelled()
    assert "concurrency limit reached" in (beside.state.message or "")


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("training", "epochs", -1),
        ("training", "loss", "hinge"),
        ("training", "epoch", 3),
        ("gate", "margin", "much"),
        ("split", "train_share", 1.5),
    ],
)
def test_a_wrong_value_of_the_form_is_refused_before_a_run_starts(
    here: Site, make: Callable[..., dict[str, Any]], group: str, key: str, value: Any
) -> None:
    parameters = make()
    parameters["config"][group][key] = value
    before = len(here.runs("nightly"))
    url = f"{here.prefect}/deployments/{here.deployment('nightly')}/create_flow_run"
    answer = httpx.post(url, json={"parameters": parameters}, timeout=30)
    assert answer.status_code == 409
    assert key in answer.text or str(value) in answer.text
    assert len(here.runs("nightly")) == before


def test_a_training_whose_worker_was_killed_is_started_again_and_the_night_goes_on(
    lost: Lost,
) -> None:
    killed, again = lost.trainings
    assert killed.state is not None
    assert killed.state.is_crashed()
    assert "no sign of life" in (killed.state.message or "")
    assert again.start_time is not None
    assert lost.night.start_time is not None
    assert again.start_time > lost.night.start_time


def test_a_night_whose_worker_was_killed_becomes_crashed_and_frees_its_slot(lost: Lost) -> None:
    assert lost.night.state is not None
    assert lost.night.state.is_crashed()
    assert "training resumes from its last checkpoint" in (lost.night.state.message or "")
    assert lost.waiting_for_a_slot == 0


def test_a_webhook_is_told_of_the_lost_night_with_its_page_and_what_to_do(
    lost: Lost,
) -> None:
    assert lost.told[0].startswith("tiny of nightly: Crashed\n")
    assert "training resumes from its last checkpoint" in lost.told[0]


def test_nothing_that_was_published_is_lost_with_a_killed_night(
    lost: Lost, next_night: Night, folder: Path
) -> None:
    assert current_version(folder / "var", "tiny") == next_night.current
    assert load_published(folder / "var", "tiny").version == next_night.current


def test_a_schedule_fires_by_itself_and_a_backlog_runs_once(
    here: Site, lost: Lost, next_night: Night, make: Callable[..., dict[str, Any]], folder: Path
) -> None:
    before = {run.id for run in here.runs("nightly")}
    nightly = here.deployment("nightly")
    every = IntervalSchedule(
        interval=timedelta(seconds=EVERY), anchor_date=datetime.now(UTC), timezone="UTC"
    )
    fast = DeploymentScheduleCreate(
        schedule=every, active=True, max_scheduled_runs=5, parameters=make(), slug="test"
    )

    def new(*states: str) -> list[FlowRun]:
        found = [run for run in here.runs("nightly") if run.id not in before]
        return [run for run in found if run.state and run.state.name in states]

    with here.scheduled(nightly, fast):
        here.until(lambda: len(new("Late")) >= 3, "three late runs while no worker listens")
        backlog = {run.id for run in new("Late")}
        for pool in ("gpu", "cpu"):
            here.start_worker(pool)
        here.until(lambda: new("Completed"), "the end of a scheduled run")
    here.until(lambda: not new("Pending", "Running"), "the end of what else was started")
    caught_up = [
        str(run.state.name) for run in here.runs("nightly") if run.id in backlog and run.state
    ]
    assert sorted(caught_up) == ["Cancelled"] * (len(backlog) - 1) + ["Completed"]
    assert all(run.auto_scheduled for run in new("Completed"))
    assert current_version(folder / "var", "tiny") == next_night.current  # same data, same version


def test_a_cron_line_starts_a_night_at_the_minute(
    here: Site, lost: Lost, next_night: Night, make: Callable[..., dict[str, Any]], folder: Path
) -> None:
    nightly, before = here.deployment("nightly"), {run.id for run in here.runs("nightly")}
    for pool in ("gpu", "cpu"):
        if not online(here, pool):
            here.start_worker(pool)
    minutely = DeploymentScheduleCreate(
        schedule=CronSchedule(cron="* * * * *", timezone="Europe/Berlin"),
        active=True,
        max_scheduled_runs=1,
        parameters=make(),
        slug="minutely",
    )

    def ended() -> list[FlowRun]:
        found = [run for run in here.runs("nightly") if run.id not in before]
        return [run for run in found if run.state and run.state.is_completed()]

    with here.scheduled(nightly, minutely):
        here.until(ended, "the end of a night that the cron line started")
    [first, *_] = ended()
    assert first.auto_scheduled
    assert first.expected_start_time is not None
    assert first.expected_start_time.second == 0
    assert current_version(folder / "var", "tiny") == next_night.current  # same data, same version


def test_a_night_that_asks_keeps_its_place_and_goes_on_with_the_answer(
    here: Site,
    first: tuple[Night, FlowRun],
    make: Callable[..., dict[str, Any]],
    folder: Path,
) -> None:
    before = current_version(folder / "var", "tiny")
    for pool in ("gpu", "cpu"):
        if not online(here, pool):
            here.start_worker(pool)
    # Another index is another version of the same embeddings: nothing is trained for it.
    parameters = make(index={"kind": "hnsw", "hnsw_links": 8})
    parameters["config"]["gate"]["approval"] = True
    run = here.trigger("nightly", parameters)
    asking = here.until(lambda: asking_below(here, run), "the question")
    form = here.until(lambda: form_of(here, asking), "the form")
    assert (state(here, asking), state(here, run)) == ("PAUSED", "RUNNING")
    assert here.client.read_global_concurrency_limit_by_name(slot_of(here)).active_slots == 1
    assert set(form["properties"]) == {"promote", "why", "who"}
    assert form["required"] == ["promote"]
    refused = here.client.resume_flow_run(asking.id, {"promote": "perhaps"})
    assert refused.status.value == "REJECT"
    assert state(here, asking) == "PAUSED"
    assert current_version(folder / "var", "tiny") == before

    here.client.resume_flow_run(asking.id, {"promote": True, "why": "a look", "who": "Ada"})
    answered = night(here, run, folder)
    assert answered.run.state is not None
    assert answered.run.state.is_completed(), answered.run.state.message
    client = mlflow.MlflowClient(here.mlflow)
    tags = client.get_run(mlflow_run(answered)).data.tags
    assert (tags["gate.verdict"], tags["gate.promoted"]) == ("promote", "true")
    assert answered.current == tags["published"] != before
    champion = client.get_model_version_by_alias("pinsage-tiny", "champion")
    assert champion.tags["published"] == answered.current


def night(here: Site, run: FlowRun, folder: Path) -> Night:
    ended = here.finished(run)
    return Night(ended, current_version(folder / "var", "tiny"), here.artifacts(run))


def mlflow_run(night: Night) -> str:
    """Id of the MLflow run that a night's page links to."""
    address = str(night.artifacts["mlflow-run"]).rpartition("/runs/")[2]
    return address.partition("?")[0].rstrip(")")


def experiment(client: mlflow.MlflowClient) -> str:
    found = client.get_experiment_by_name("tiny")
    assert found is not None
    return str(found.experiment_id)


def one_more_day(file: Path) -> None:
    """What 24 hours after the last row would add, one interaction an hour."""
    with file.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    last = int(rows[-1]["timestamp"])
    with file.open("a", newline="") as handle:
        out = csv.writer(handle)
        for hour in range(1, 25):
            earlier = rows[hour * 7]
            out.writerow([earlier["user_id"], earlier["item_id"], last + hour * HOUR])
