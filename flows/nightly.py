"""Flow: from raw interactions to published item embeddings, every stage in order.

What is unchanged since an earlier run is found, not run again. A broken data contract stops the
run before work is spent; whatever fails, what was published before stays published. The gate
decides whether readers follow the new version: a run that it refuses is a run that went well, and
ends as `gate.on_refusal` says.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow

from flows import remedy, upstream
from flows.promotion import Settled, Verdict, enforce, settle
from flows.registration import Registered
from flows.results import headline
from flows.session import session, tidy
from flows.summary import show_results
from flows.trend import show_trend
from pinsage.config import Config


@dataclass(frozen=True)
class NightlyResult:
    """What came of a nightly run; <root>/runs/<run_id>.json says more.

    Attributes:
        version: name of the published version
        metrics: headline metrics of validation and test
        mlflow_run_id: the MLflow run, or None where MLflow did not answer
        model: the registered model's address, or None likewise
        verdict: what the gate said, or whoever it asked
        promoted: readers follow the version
        reasons: why, a line each
    """

    run_id: str
    version: str
    metrics: dict[str, float]
    mlflow_run_id: str | None
    model: str | None
    verdict: Verdict
    promoted: bool
    reasons: list[str]


@flow(
    name="nightly",
    flow_run_name="{config.name}",
    persist_result=True,
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def nightly(config: Config) -> NightlyResult:
    """From raw interactions to published item embeddings, which readers follow if they are good."""
    with session(config, "nightly", publishes=True) as run:
        made = upstream.challenger(run)
        settled = settle(run, made)
        show_trend(run, made, settled)
        show_results(run, made.evaluated, settled, made.registered)
        result = NightlyResult(
            run_id=run.book.run_id,
            version=settled.version.name,
            metrics=headline(made.evaluated),
            mlflow_run_id=run.tracker.parent.run_id,
            model=_model(made.registered, settled),
            verdict=settled.verdict,
            promoted=settled.promoted,
            reasons=settled.reasons,
        )
    tidy(config)
    enforce(config, settled)
    return result


def _model(registered: Registered | None, settled: Settled) -> str | None:
    if registered is None:
        return None
    return registered.uri if settled.promoted else registered.address
