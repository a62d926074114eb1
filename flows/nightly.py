"""Flow: from raw interactions to published item embeddings, every stage in order.

What is unchanged since an earlier run is found, not run again. A broken data contract stops the
run before work is spent; whatever fails, what was published before stays published.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows import remedy, stages, upstream
from flows.results import headline
from flows.session import session
from flows.stages import Shown
from flows.summary import show_results
from pinsage.config import Config


@dataclass(frozen=True)
class NightlyResult:
    """What came of a nightly run; <root>/runs/<run_id>.json says more.

    Attributes:
        version: name of the published version
        metrics: headline metrics of validation and test
        mlflow_run_id: the MLflow run, or None where MLflow did not answer
        model: the registered model's address, or None likewise
    """

    run_id: str
    version: str
    metrics: dict[str, float]
    mlflow_run_id: str | None
    model: str | None


@flow(
    name="nightly",
    flow_run_name="{config.name}",
    persist_result=True,
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def nightly(config: Config) -> NightlyResult:
    """From raw interactions to published item embeddings."""
    with session(config, "nightly", publishes=True) as run:
        upstream.can_evaluate(run)
        data = upstream.data(run)
        past = upstream.graph(run, data, "train")
        trained = stages.train(run, data, past)
        evaluated = stages.evaluate(run, data, past, trained)
        present, embedded = upstream.embeddings(run, data, past, trained)
        indexed = stages.index(run, embedded, trained)
        pooled = upstream.contexts(run, data, embedded)
        shown = Shown(embedded, data.ingested, present.built)
        reported = stages.report(run, data, shown, trained, evaluated)
        version = stages.publish(
            run, data, present, trained, evaluated, embedded, indexed, reported, pooled
        )
        registered = stages.register(run, version)
        show_results(run, evaluated, version, registered)
        return NightlyResult(
            run_id=run.book.run_id,
            version=version.name,
            metrics=headline(evaluated),
            mlflow_run_id=run.tracker.parent.run_id,
            model=registered.uri if registered else None,
        )
