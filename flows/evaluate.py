"""Flow: everything up to the evaluation of a trained model beside the baselines."""

from __future__ import annotations

from prefect import flow

from flows import remedy, stages, upstream
from flows.session import session
from flows.stages import Shown
from flows.summary import show_results
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="evaluate",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def evaluate(config: Config) -> Artifact:
    """Bring everything up to the evaluation and its report."""
    with session(config, "evaluate") as run:
        upstream.can_evaluate(run)
        data = upstream.data(run)
        past = upstream.graph(run, data, "train")
        trained = stages.train(run, data, past)
        evaluated = stages.evaluate(run, data, past, trained)
        stages.report(run, data, Shown(evaluated, data.parts, past.built), trained, evaluated)
        show_results(run, evaluated)
        return evaluated
