"""Flow: everything up to a trained model. `nightly` starts it on the GPU pool."""

from __future__ import annotations

from prefect import flow

from flows import remedy, stages, upstream
from flows.session import session
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="train",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def train(config: Config, tracked_run: str | None = None) -> Artifact:
    """Bring everything up to a trained model.

    Args:
        config: What to train on, and how.
        tracked_run: MLflow run to record the training below; left empty, a new one is begun.
    """
    with session(config, "train", parent=tracked_run) as run:
        upstream.can_train(run)
        data = upstream.data(run)
        return stages.train(run, data, upstream.graph(run, data, "train"))
