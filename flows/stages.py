"""The stages as Prefect tasks: thin wrappers around `pinsage.stages`, recorded one by one.

Tasks are not cached by Prefect: the store finds what is unchanged, by content. Computations are
deterministic, so that only what talks to a database or a server is tried again. Only `train` has a
tag, for a concurrency limit on the GPU: Prefect asks for slots before every tagged task, which
took half a second each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from data_contracts import gate
from flows import artifacts, records, registration
from flows.dispatch import train_elsewhere
from flows.registration import Registered
from flows.session import MODEL, Run
from pinsage import stages
from pinsage.retrieval import publish as retrieval
from pinsage.retrieval.publish import Version
from pinsage.store import Artifact

if TYPE_CHECKING:
    from pinsage.training.loop import EpochReport

HOUR = 3600.0
DAY = 24 * HOUR

# What the graph is made of: the training period, or every interaction up to now.
Span = Literal["train", "full"]


@dataclass(frozen=True)
class Data:
    """Interactions and items with dense rows, and their temporal split."""

    ingested: Artifact
    parts: Artifact


@dataclass(frozen=True)
class Graph:
    """The bipartite graph of a span, and its table of neighbourhoods."""

    built: Artifact
    table: Artifact


@dataclass(frozen=True)
class Shown:
    """Embeddings that a report shows: of which catalog, over which graph."""

    vectors: Artifact
    catalog: Artifact
    built: Artifact


def is_database_trouble(_task: Task[Any, Any], _run: TaskRun, state: State[Any]) -> bool:
    """True where a source's database failed in a way that may pass."""
    from sqlalchemy.exc import DBAPIError

    error: BaseException | None = state.data if isinstance(state.data, BaseException) else None
    while error is not None:
        if isinstance(error, DBAPIError):
            return True
        error = error.__cause__ or error.__context__
    return False


@task(
    name="snapshot",
    task_run_name="snapshot",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
    retries=3,
    retry_delay_seconds=[2, 10, 60],
    retry_jitter_factor=0.5,
    retry_condition_fn=is_database_trouble,
)
def snapshot(run: Run) -> Artifact:
    """Land the raw sources once, so that all stages see the same rows."""
    with run.stage("snapshot") as record:
        landed = record.keep(stages.snapshot(run.config, run.store))
        record.keep_inputs(landed)
        return landed


@task(
    name="validate",
    task_run_name="validate",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
)
def validate(run: Run, landed: Artifact) -> Artifact:
    """Check the landed data against its contract; a breach stops the run here."""
    with run.stage("validate") as record:
        checked = record.keep(gate.validate(run.config, run.store, landed))
        artifacts.link_data_docs("validate", checked, record.url)
        gate.enforce(checked)
        return checked


@task(
    name="ingest",
    task_run_name="ingest",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
)
def ingest(run: Run, landed: Artifact) -> Artifact:
    """Quarantine unusable rows, drop duplicates, number users and items."""
    with run.stage("ingest") as record:
        return record.keep(stages.ingest(run.config, run.store, landed, listener=record.listener()))


@task(
    name="split",
    task_run_name="split",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
)
def split(run: Run, ingested: Artifact) -> Artifact:
    """Cut the interactions at two points in time."""
    with run.stage("split") as record:
        return record.keep(stages.split(run.config, run.store, ingested))


@task(
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
    task_run_name="graph-{span}",
)
def graph(run: Run, data: Data, span: Span) -> Artifact:
    """Build the bipartite graph of a span."""
    source = data.parts if span == "train" else data.ingested
    with run.stage(f"graph-{span}") as record:
        return record.keep(
            stages.graph(run.config, run.store, source, source, listener=record.listener())
        )


@task(
    cache_policy=NO_CACHE,
    timeout_seconds=12 * HOUR,
    task_run_name="neighbourhoods-{span}",
)
def neighbourhoods(run: Run, data: Data, built: Artifact, span: Span) -> Artifact:
    """Find every item's most visited neighbours by random walks."""
    catalog = data.parts if span == "train" else data.ingested
    with run.stage(f"neighbourhoods-{span}") as record:
        return record.keep(
            stages.neighbourhoods(run.config, run.store, built, catalog, listener=record.listener())
        )


@task(
    name="train",
    task_run_name="train",
    tags=["gpu"],
    cache_policy=NO_CACHE,
    timeout_seconds=3 * DAY,
)
def train(run: Run, data: Data, past: Graph) -> Artifact:
    """Train in this process, or on the GPU box where a worker waits there."""
    progress = artifacts.TrainingProgress(run.config.training.epochs)
    trained_there = train_elsewhere(run.config, run.tracker.parent.run_id)
    with run.stage("train", tracked=not trained_there, has_bar=True) as record:

        def on_epoch(report: EpochReport) -> None:
            record.tracked.epoch(report)
            progress.epoch(report)

        return record.keep(
            stages.train(
                run.config,
                run.store,
                data.parts,
                past.built,
                past.table,
                on_epoch=on_epoch,
            )
        )


@task(
    name="evaluate",
    task_run_name="evaluate",
    cache_policy=NO_CACHE,
    timeout_seconds=DAY,
)
def evaluate(run: Run, data: Data, past: Graph, trained: Artifact) -> Artifact:
    """Rank validation and test, beside the baselines."""
    with run.stage("evaluate") as record:
        evaluated = record.keep(
            stages.evaluate(
                run.config,
                run.store,
                data.parts,
                past.built,
                past.table,
                trained,
            )
        )
        record.tracked.write(metrics=records.slices(evaluated, MODEL))
        return evaluated


@task(name="embed", task_run_name="embed", cache_policy=NO_CACHE, timeout_seconds=DAY)
def embed(run: Run, data: Data, present: Graph, trained: Artifact) -> Artifact:
    """Embed every item of the catalog."""
    with run.stage("embed") as record:
        return record.keep(
            stages.embed(
                run.config, run.store, data.ingested, present.built, present.table, trained
            )
        )


@task(
    name="validate-embeddings",
    task_run_name="validate-embeddings",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
)
def validate_embeddings(run: Run, data: Data, embedded: Artifact) -> Artifact:
    """Check the embeddings against their contract; a breach stops the run before publication."""
    with run.stage("validate-embeddings") as record:
        checked = record.keep(
            gate.validate_embeddings(run.config, run.store, embedded, data.ingested)
        )
        artifacts.link_data_docs("validate-embeddings", checked, record.url)
        gate.enforce(checked)
        return checked


@task(name="contexts", task_run_name="contexts", cache_policy=NO_CACHE, timeout_seconds=12 * HOUR)
def contexts(run: Run, data: Data, embedded: Artifact) -> Artifact:
    """Pool the items of every user into vectors."""
    with run.stage("contexts") as record:
        return record.keep(stages.contexts(run.config, run.store, data.ingested, embedded))


@task(
    name="index",
    task_run_name="index",
    cache_policy=NO_CACHE,
    timeout_seconds=12 * HOUR,
)
def index(run: Run, embedded: Artifact, trained: Artifact) -> Artifact:
    """Build the nearest-neighbour index."""
    with run.stage("index") as record:
        return record.keep(stages.index(run.config, run.store, embedded, trained))


@task(name="report", task_run_name="report", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def report(run: Run, data: Data, shown: Shown, trained: Artifact, evaluated: Artifact) -> Artifact:
    """Draw the page that the run is judged by."""
    with run.stage("report") as record:
        reported = record.keep(
            stages.report(
                run.config,
                run.store,
                ingested=data.ingested,
                parts=data.parts,
                catalog=shown.catalog,
                built=shown.built,
                trained=trained,
                evaluated=evaluated,
                vectors=shown.vectors,
                made=dict(run.book.stages),
            )
        )
        run.tracker.parent.files(reported)  # where a person looks first
        run.tracker.parent.pictures(reported)
        artifacts.link_report(reported, run.tracker.url)
        return reported


@task(
    name="publish",
    task_run_name="publish",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
)
def publish(
    run: Run,
    data: Data,
    present: Graph,
    trained: Artifact,
    evaluated: Artifact,
    embedded: Artifact,
    indexed: Artifact,
    reported: Artifact,
    pooled: Artifact | None,
) -> Version:
    """Publish one version, with users' vectors where they are wanted; readers stay as they are."""
    with run.stage("publish") as record:
        version = retrieval.publish(
            run.config,
            ingested=data.ingested,
            built=present.built,
            trained=trained,
            evaluated=evaluated,
            embedded=embedded,
            indexed=indexed,
            reported=reported,
            contexts=pooled if run.config.contexts.publish else None,
            token=run.token,
            origin=run.origin(),
            why=f"{run.book.flow} {run.book.run_id}",
            promote=False,
        )
        record.keep_outcome(
            reused=version.reused, published=version.name, published_path=str(version.path)
        )
        record.tracked.write(metrics=records.numbers(version.stability))
        run.tracker.parent.write(metrics=records.numbers(version.stability))
        return version


@task(
    name="register",
    task_run_name="register",
    cache_policy=NO_CACHE,
    timeout_seconds=HOUR,
)
def register(run: Run, version: Version) -> Registered | None:
    """Register the published version in MLflow; None, and a warning, where it does not answer.

    A later run registers what is missing, so the publication stands either way.
    """
    with run.stage("register") as record:
        run_id = record.tracked.run_id
        registered = run_id and run.tracker.link.ask(
            "register the model",
            lambda client: registration.register(client, run.config, version, run_id),
        )
        if registered:
            record.keep_outcome(
                reused=registered.reused,
                registered_model=registered.name,
                registered_version=registered.version,
            )
        return registered or None
