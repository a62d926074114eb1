"""Flow: everything up to a published version, registered in MLflow."""

from __future__ import annotations

from prefect import flow

from flows import remedy, stages, upstream
from flows.session import session
from flows.stages import Shown
from flows.summary import show_results
from pinsage.config import Config
from pinsage.retrieval.publish import Version


@flow(
    name="publish",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def publish(config: Config) -> Version:
    """Bring everything up to a published version; the same inputs make one version, not two."""
    with session(config, "publish", publishes=True) as run:
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
        return version
