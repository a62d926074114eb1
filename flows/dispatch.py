"""Training on the GPU box: `nightly` starts the deployment `train` where a worker waits for it.

Without a server, or without a worker on the pool `gpu`, training happens in the calling process.
Both processes share the folder of artifacts, so the model is found there afterwards.

A training whose process is lost is started again, once: it resumes from its last checkpoint. One
that failed would fail again. One that no worker takes is taken back, and done here.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, cast

from prefect import get_client, runtime
from prefect.client.schemas.objects import FlowRun, State, StateType, WorkerStatus
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound

from pinsage.config import Config
from pinsage.errors import TrainingError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "gpu"
DEPLOYMENT = "train/train"
ATTEMPTS = 2
POLL = 2.0  # seconds between two questions to the server
PATIENCE = 120.0  # seconds in which a lost worker may come back, or another take the run

_LOST = (
    f"training was lost, not finished: see why the process or the machine of the pool {POOL} went "
    f"away (memory, power, its worker's log), start `prefect worker start --pool {POOL}` there, "
    f"and run again: training resumes from its last checkpoint"
)

_log = logging.getLogger(__name__)


def train_elsewhere(config: Config, tracked_run: str | None) -> bool:
    """Train through the deployment and wait for it; False where it must be done here.

    `tracked_run` is the MLflow run to record below. Raises TrainingError where the other flow run
    did not complete.
    """
    if runtime.flow_run.flow_name == "train" or not gpu_worker_waits():
        return False
    parameters = {"config": config.model_dump(mode="json"), "tracked_run": tracked_run}
    for attempt in range(1, ATTEMPTS + 1):
        run = _run(parameters)
        if run is None:
            return False
        if run.state is not None and run.state.is_completed():
            return True
        if run.state is None or not run.state.is_crashed():
            raise TrainingError(_why(run))
        _log.warning("%s (attempt %d of %d)", _why(run), attempt, ATTEMPTS)
        if attempt == ATTEMPTS or not _comes_back():
            raise TrainingError(f"{_why(run)}; {_LOST}")
    raise AssertionError  # the last attempt has returned or raised


def gpu_worker_waits() -> bool:
    """True where this flow run came from a worker and another worker listens to the GPU pool."""
    if runtime.deployment.id is None:
        return False
    with get_client(sync_client=True) as client:
        try:
            client.read_deployment_by_name(DEPLOYMENT)
        except ObjectNotFound:
            return False
        return _listens(client)


def _listens(client: SyncPrefectClient) -> bool:
    try:
        workers = client.read_workers_for_work_pool(POOL)
    except ObjectNotFound:
        return False
    return any(worker.status == WorkerStatus.ONLINE for worker in workers)


def _run(parameters: dict[str, Any]) -> FlowRun | None:
    """Start one training and wait for its end; None where no worker took it.

    Whatever ends this process's waiting ends the training too: nobody would look for its result.
    """
    # The function is typed for callers that await as well; called plainly, it is done.
    started = cast("FlowRun", run_deployment(DEPLOYMENT, parameters=parameters, timeout=0))
    _log.info("training on the work pool %s, as flow run %s of %s", POOL, started.name, DEPLOYMENT)
    with get_client(sync_client=True) as client:
        try:
            return _end_of(client, started)
        except BaseException:
            _cancel(client, started, "who had asked for this training no longer waits for it")
            raise


def _end_of(client: SyncPrefectClient, started: FlowRun) -> FlowRun | None:
    listened = time.monotonic()
    while True:
        run = client.read_flow_run(started.id)
        if run.state is not None and run.state.is_final():
            return run
        if (run.state is not None and run.state.is_running()) or _listens(client):
            listened = time.monotonic()
        elif time.monotonic() - listened > PATIENCE:
            _cancel(client, started, f"no worker of the pool {POOL} has taken this training")
            _log.warning("no worker of the pool %s is left: training here instead", POOL)
            return None
        time.sleep(POLL)


def _comes_back() -> bool:
    """Wait for a worker of the pool, at most PATIENCE; whether there is one."""
    deadline = time.monotonic() + PATIENCE
    with get_client(sync_client=True) as client:
        while not _listens(client):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
    return True


def _cancel(client: SyncPrefectClient, run: FlowRun, why: str) -> None:
    # A run that waits is Cancelled at once by the server; one that runs, by its worker.
    client.set_flow_run_state(run.id, State(type=StateType.CANCELLING, message=why))


def _why(run: FlowRun) -> str:
    message = run.state.message if run.state else "no state"
    return f"flow run {run.name} of {DEPLOYMENT} did not complete: {message}"
