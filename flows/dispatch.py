"""Training on the GPU box: `nightly` starts the deployment `train` where a worker waits for it.

Without a server, or without a worker on the pool `gpu`, training happens in the calling process.
Both processes share the folder of artifacts, so the model is found there afterwards.
"""

from __future__ import annotations

import logging
from typing import cast

from prefect import get_client, runtime
from prefect.client.schemas.objects import FlowRun, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from pinsage.config import Config
from pinsage.errors import TrainingError

POOL = "gpu"
DEPLOYMENT = "train/train"

_log = logging.getLogger(__name__)


def train_elsewhere(config: Config, tracked_run: str | None) -> bool:
    """Train through the deployment and wait for it; False where it must be done here.

    `tracked_run` is the MLflow run to record below. Raises TrainingError where the other flow run
    did not complete.
    """
    if runtime.flow_run.flow_name == "train" or not gpu_worker_waits():
        return False
    _log.info("training on the work pool %s, as deployment %s", POOL, DEPLOYMENT)
    parameters = {"config": config.model_dump(mode="json"), "tracked_run": tracked_run}
    # The function is typed for callers that await as well; called plainly, it has waited.
    run = cast("FlowRun", run_deployment(DEPLOYMENT, parameters=parameters, poll_interval=2))
    if run.state is None or not run.state.is_completed():
        message = run.state.message if run.state else "no state"
        raise TrainingError(f"flow run {run.name} of {DEPLOYMENT} did not complete: {message}")
    return True


def gpu_worker_waits() -> bool:
    """True where this flow run came from a worker and another worker listens to the GPU pool."""
    if runtime.deployment.id is None:
        return False
    with get_client(sync_client=True) as client:
        try:
            workers = client.read_workers_for_work_pool(POOL)
            client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            return False
    return any(worker.status == WorkerStatus.ONLINE for worker in workers)
