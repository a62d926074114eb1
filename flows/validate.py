"""Flow: land the sources and check them against their data contract."""

from __future__ import annotations

from prefect import flow

from flows import remedy, upstream
from flows.session import session
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="validate",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def validate(config: Config) -> Artifact:
    """Land the sources and check them against their data contract."""
    with session(config, "validate") as run:
        return upstream.valid_data(run)
