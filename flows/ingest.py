"""Flow: everything up to interactions and items with dense rows, split by time."""

from __future__ import annotations

from prefect import flow

from flows import remedy, upstream
from flows.session import session
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="ingest",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def ingest(config: Config) -> Artifact:
    """Bring everything up to the ingested and split data; returns the ingested tables."""
    with session(config, "ingest") as run:
        return upstream.data(run).ingested
