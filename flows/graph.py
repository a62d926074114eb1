"""Flow: everything up to the graphs and their tables of importance neighbourhoods."""

from __future__ import annotations

from prefect import flow

from flows import remedy, upstream
from flows.session import session
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="graph",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def graph(config: Config) -> Artifact:
    """Bring up the graphs of the training period and of all data; returns the latter's table."""
    with session(config, "graph") as run:
        data = upstream.data(run)
        upstream.graph(run, data, "train")
        return upstream.graph(run, data, "full").table
