"""MLflow: one parent run a flow run, one nested child a stage. The only module that talks to it.

Invariant: an MLflow that does not answer never stops a run. The first failure is a warning that
says what is missing; until MLflow answers again the run goes on without it.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import mlflow
import pyarrow.parquet as pq
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils import mlflow_tags
from sqlalchemy.exc import SQLAlchemyError

from flows import records
from flows.machine import Meter, sampled
from flows.nights_view import experiment_tags
from flows.settings import (
    MLFLOW_VIEW,
    mlflow_address,
    mlflow_artifacts,
    mlflow_database,
    wants_system_metrics,
)
from pinsage.config import Config
from pinsage.config_text import to_toml
from pinsage.errors import ConfigError
from pinsage.store import Artifact

if TYPE_CHECKING:
    from pinsage.training.loop import EpochReport

TRAINING = "train"  # the child whose machine is measured, which may be another than the parent's
SAMPLED_EVERY = 10.0  # seconds
RETRY_AFTER = 60.0  # seconds without MLflow before it is asked again

# Without it MLflow's pages take an experiment for one of language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_BATCH = 100  # MLflow takes at most so many parameters a call
# Network failures are OSErrors. Anything else is a mistake in this module and must be seen.
FAILURES = (MlflowException, SQLAlchemyError, OSError)
_log = logging.getLogger(__name__)
_R = TypeVar("_R")


class Link:
    """The way to MLflow. After a failure it is closed for a while, so that nothing waits."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._closed_until = 0.0

    @cached_property
    def client(self) -> mlflow.MlflowClient:
        """Made when it is first needed, because making it opens the database."""
        try:
            return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"tracking.uri: a {self.uri.partition(':')[0]} database needs the package "
                f"{error.name}, which is not installed; install it, or use another address"
            ) from None

    @property
    def is_local(self) -> bool:
        """True where MLflow is a database this process opens, not a server."""
        return not self.uri.startswith("http")

    def ask(self, what: str, question: Callable[[mlflow.MlflowClient], _R]) -> _R | None:
        """The answer, or None and a warning where MLflow gave none. `what` completes the line."""
        if time.monotonic() < self._closed_until:
            return None
        try:
            return question(self.client)
        except FAILURES as error:
            self._closed_until = time.monotonic() + RETRY_AFTER
            _log.warning(
                "MLflow at %s could not %s: %s. The run goes on without tracking; MLflow is "
                "asked again after %.0f s.",
                self.uri, what, reason_of(error), RETRY_AFTER,
            )  # fmt: skip
            return None


class TrackedRun:
    """One run of MLflow; `run_id` is None, and writing does nothing, where it was never begun."""

    def __init__(self, link: Link, run_id: str | None) -> None:
        self.run_id = run_id
        self._link = link

    def write(
        self,
        *,
        params: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        step: int = 0,
    ) -> None:
        """Parameters, metrics and tags at once."""
        now = round(time.time() * 1000)
        chosen = [Param(key, value) for key, value in (params or {}).items()]
        values = [Metric(key, value, now, step) for key, value in (metrics or {}).items()]
        labels = [RunTag(key, value) for key, value in (tags or {}).items()]

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            client.log_batch(run_id, metrics=values, params=chosen[:_BATCH], tags=labels)
            for start in range(_BATCH, len(chosen), _BATCH):
                client.log_batch(run_id, params=chosen[start : start + _BATCH])

        self._ask("record parameters, metrics and tags", send)

    def describe(self, markdown: str) -> None:
        """Set the description."""
        self.write(tags={mlflow_tags.MLFLOW_RUN_NOTE: markdown[: records.MAX_TAG]})

    def text(self, name: str, text: str) -> None:
        """Keep a text as an artifact."""
        self._ask(f"store {name}", lambda client, run_id: client.log_text(run_id, text, name))

    def figure(self, name: str, draw: Callable[[Path], object]) -> None:
        """Keep an image as an artifact; `draw` writes it into a file."""
        folder, _, file = name.rpartition("/")

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            with tempfile.TemporaryDirectory() as place:
                draw(Path(place) / file)
                client.log_artifact(run_id, str(Path(place) / file), folder or None)

        self._ask(f"store {name}", send)

    def epoch(self, report: EpochReport) -> None:
        """One point of the training curve, by step."""
        validation = {f"valid_{name}": value for name, value in report.metrics.items()}
        curve = {
            **({} if report.loss is None else {"loss": report.loss}),
            "learning_rate": report.learning_rate,
            "epoch_seconds": report.seconds,
            "epoch": float(report.epoch),
        }
        self.write(metrics={**curve, **validation}, step=report.step)

    def trial(
        self,
        method: str,
        settings: Mapping[str, Any],
        score: float | None,
        tags: Mapping[str, str],
    ) -> None:
        """Record a choice of settings of a method and, where it has one, its validation score."""
        scored = {} if score is None else {"valid_score": score}
        self.write(
            params=records.flat_parameters(settings),
            metrics=records.numbers(scored),
            tags={"method": method, **tags},
        )

    def artifact(self, artifact: Artifact) -> None:
        """Record the settings, facts, cost and readable files of what a stage made or found."""
        self.write(
            params=records.parameters(artifact),
            metrics=records.metrics(artifact),
            tags=records.tags(artifact),
        )
        self.files(artifact)

    def files(self, artifact: Artifact) -> None:
        """Keep what a person would look at: reports, plots, pages."""

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            for name in records.readable_files(artifact):
                folder = str(name.parent) if name.parent != Path() else None
                client.log_artifact(run_id, str(artifact.path / name), folder)

        self._ask("store the artifact's reports", send)

    def pictures(self, artifact: Artifact) -> None:
        """Keep its plots beside its folders too: MLflow's page that compares runs opens none."""

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            for name in records.readable_files(artifact):
                if name.suffix == ".png":
                    client.log_artifact(run_id, str(artifact.path / name))

        self._ask("show the plots beside other runs'", send)

    def dataset(self, name: str, file: Path, digest: str, context: str) -> None:
        """Log a Parquet file as an input: its schema, digest and row count."""

        def send(client: mlflow.MlflowClient, run_id: str) -> None:
            tag = InputTag(mlflow_tags.MLFLOW_DATASET_CONTEXT, context)
            client.log_inputs(run_id, [DatasetInput(_data_set(name, file, digest), [tag])])

        self._ask(f"log the data set {name}", send)

    def end(self, error: BaseException | None = None) -> None:
        """End the run; with an error, as failed and with its message."""
        if error is not None:
            self.describe(f"**{type(error).__name__}**\n\n```\n{error}\n```")
        status = "FINISHED" if error is None else _failure(error)
        self._ask("end a run", lambda client, run_id: client.set_terminated(run_id, status))

    def _ask(self, what: str, question: Callable[[mlflow.MlflowClient, str], None]) -> None:
        if (run_id := self.run_id) is not None:
            self._link.ask(what, lambda client: question(client, run_id))


class Tracker:
    """The parent run of a flow run, and the children below it."""

    def __init__(self, link: Link, config: Config) -> None:
        self.link = link
        self.parent = TrackedRun(link, None)
        self._config = config
        self._experiment_id = ""
        self._begin: Callable[[], None] = lambda: None

    @property
    def url(self) -> str | None:
        """Page of the parent run."""
        return self.url_of(self.parent)

    def url_of(self, run: TrackedRun) -> str | None:
        """Where a run is seen in a browser (`pinsage ui` serves the embedded database)."""
        if run.run_id is None:
            return None
        address = mlflow_address() if self.link.is_local else self.link.uri.rstrip("/")
        page = f"{address}/#/experiments/{self._experiment_id}/runs/{run.run_id}"
        return f"{page}{MLFLOW_VIEW}"

    def nothing(self) -> TrackedRun:
        """A run that writes nothing."""
        return TrackedRun(self.link, None)

    def begin(self, name: str, tags: Mapping[str, str]) -> None:
        """Begin the parent run, with the configuration as its first artifact.

        Where MLflow does not answer, the first stage that finds it back begins the run.
        """

        def begin() -> None:
            run_id = self.link.ask("begin a run", self._create(name, tags))
            self.parent = TrackedRun(self.link, run_id)
            self.parent.text("config.toml", to_toml(self._config))
            self.parent.write(params=records.flat_parameters(self._config.model_dump(mode="json")))

        self._begin = begin
        begin()

    def attach(self, run_id: str) -> None:
        """Write below a parent run that another process began, and will end."""
        run = self.link.ask("find the parent run", lambda client: client.get_run(run_id))
        if run is not None:
            self._experiment_id = run.info.experiment_id
            self.parent = TrackedRun(self.link, run_id)

    @contextmanager
    def stage(self, name: str) -> Iterator[TrackedRun]:
        """A child run, begun before the stage and ended with it, whatever its end."""
        child = TrackedRun(self.link, self._begin_child(name))
        try:
            with self.measured(lambda: child) if name == TRAINING else nullcontext():
                yield child
        except BaseException as error:
            child.end(error)
            raise
        child.end()

    @contextmanager
    def measured(self, run: Callable[[], TrackedRun]) -> Iterator[None]:
        """Write what the machine does to a run, for the time of the block; `run` says to which.

        MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says how often, in seconds.
        """

        def meter() -> Meter:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            # Its own thread is never started; flows/machine.py says why.
            return SystemMetricsMonitor(  # type: ignore[no-untyped-call]
                None, sampling_interval=SAMPLED_EVERY, tracking_uri=self.link.uri
            )

        # Of its own, so that a sample that fails does not stop what the run itself has to record.
        link = Link(self.link.uri)

        def write(values: Mapping[str, float], step: int) -> None:
            TrackedRun(link, run().run_id).write(metrics=values, step=step)

        with sampled(meter, write) if wants_system_metrics() else nullcontext():
            yield

    def _begin_child(self, name: str) -> str | None:
        if self.parent.run_id is None:
            self._begin()
        if (parent := self.parent.run_id) is None:
            return None
        tags = {mlflow_tags.MLFLOW_PARENT_RUN_ID: parent, "stage": name}
        return self.link.ask(f"begin the run of {name}", self._create(name, tags))

    def _create(self, name: str, tags: Mapping[str, str]) -> Callable[[mlflow.MlflowClient], str]:
        def create(client: mlflow.MlflowClient) -> str:
            self._experiment_id = self._experiment_id or self._experiment(client)
            run = client.create_run(self._experiment_id, tags=dict(tags), run_name=name)
            return str(run.info.run_id)

        return create

    def _experiment(self, client: mlflow.MlflowClient) -> str:
        name = self._config.tracking.experiment or self._config.name
        found = client.get_experiment_by_name(name)
        if found is None:
            folder = mlflow_artifacts(self._config.root) / name
            location = folder.as_uri() if self.link.is_local else None
            tags = _EXPERIMENT_TAGS | experiment_tags(self._config)
            return str(client.create_experiment(name, location, tags=tags))
        if self.link.is_local and found.artifact_location.startswith("mlflow-artifacts:"):
            raise MlflowException(
                f"the artifacts of experiment {name} are kept by an MLflow server; set "
                f"tracking.uri to its address, or tracking.experiment to a new name"
            )
        return str(found.experiment_id)


@contextmanager
def connected(config: Config) -> Iterator[Tracker]:
    """A tracker, with MLflow's global address set for the time of the block only.

    MLflow writes the address into the environment; left there it would steer the next run.
    """
    before = os.environ.get("MLFLOW_TRACKING_URI")
    uri = tracking_uri(config)
    if uri == mlflow_database(config.root):
        config.root.mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    try:
        yield Tracker(Link(uri), config)
    finally:
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it


def tracking_uri(config: Config) -> str:
    """The configured address, else MLFLOW_TRACKING_URI, else a SQLite file below the root."""
    return tracking_uri_of(config.root, config.tracking.uri)


def tracking_uri_of(root: Path, configured: str) -> str:
    """The same, for whoever has no configuration."""
    return configured or os.environ.get("MLFLOW_TRACKING_URI") or mlflow_database(root)


def reason_of(error: BaseException) -> str:
    """The first line of what an error says, for a message of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _failure(error: BaseException) -> str:
    return "FAILED" if isinstance(error, Exception) else "KILLED"


def _data_set(name: str, file: Path, digest: str) -> Dataset:
    parquet = pq.ParquetFile(file)
    empty = parquet.schema_arrow.empty_table().to_pandas()
    with warnings.catch_warnings():
        # MLflow's hints on integer columns are for models, and it knows local files twice.
        warnings.simplefilter("ignore")
        described = from_pandas(empty, source=str(file), name=name, digest=digest)
        entity = described.to_dict()  # infers the schema
    size = {"num_rows": parquet.metadata.num_rows, "num_columns": empty.shape[1]}
    return Dataset(**{**entity, "profile": json.dumps(size)})
