"""Flow: everything up to a published version, registered in MLflow and judged by the gate."""

from __future__ import annotations

from prefect import flow

from flows import remedy, upstream
from flows.promotion import enforce, settle
from flows.session import session
from flows.summary import show_results
from flows.trend import show_trend
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
        made = upstream.challenger(run)
        settled = settle(run, made)
        show_trend(run, made, settled)
        show_results(run, made.evaluated, settled, made.registered)
    enforce(config, settled)
    return settled.version
