"""Real servers and workers for one test module: what a team would run, on free ports of loopback.

Every process that is started is ended with the block, the flow runs' own too: a worker starts each
in a session of its own, so that they are looked for among its descendants.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas import filters
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.automations import FAILED, LOST
from flows.children import Children
from flows.embedded import free_port
from flows.settings import IMPATIENT, LOGGING, QUIET

Answer = TypeVar("Answer")

REPOSITORY = Path(__file__).parents[2]
# Prefect's services ask more often than they would, so that a test need not wait for them.
HASTY = {
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "3",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "2",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "3",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT2S",
    "PREFECT_WORKER_QUERY_SECONDS": "1",
    "PREFECT_WORKER_PREFETCH_SECONDS": "1",
    "PREFECT_WORKER_HEARTBEAT_SECONDS": "10",
}
SILENCE = 35  # seconds; hearts beat every 30, which Prefect takes no shorter
PATIENCE = 600  # seconds until what has not happened never will, on a machine with much else to do


class Site:
    """Servers that are up, a client of Prefect's, and workers to start and to kill."""

    def __init__(
        self, children: Children, client: SyncPrefectClient, prefect: str, mlflow: str
    ) -> None:
        self.children = children
        self.client = client
        self.prefect = prefect
        self.mlflow = mlflow
        self._workers: dict[str, int] = {}

    def start_worker(self, pool: str) -> None:
        """Start a worker of a pool, under the pool's name."""
        worker = ("worker", "start", "--pool", pool, "--type", "process", "--name", pool)
        self._workers[pool] = self.children.start(f"worker-{pool}", "prefect", *worker)

    def kill_worker(self, pool: str) -> list[int]:
        """SIGKILL a worker and every process below it; their ids."""
        worker = self._workers.pop(pool)
        killed = [*descendants(worker), worker]
        for process in killed:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.children.wait_for(f"worker-{pool}")
        return killed

    def end_workers(self) -> None:
        """Kill what is left, before the servers go."""
        for pool in list(self._workers):
            self.kill_worker(pool)

    def deployment(self, name: str) -> UUID:
        """Id of a deployment whose flow has the same name."""
        return self.client.read_deployment_by_name(f"{name}/{name}").id

    def trigger(self, name: str, parameters: dict[str, Any]) -> FlowRun:
        """Start a deployment, as the form does."""
        return self.client.create_flow_run_from_deployment(
            self.deployment(name), parameters=parameters
        )

    def runs(self, flow: str) -> list[FlowRun]:
        """Runs of a flow, those that were to start first first."""
        named = filters.FlowFilter(name=filters.FlowFilterName(any_=[flow]))
        by_time = FlowRunSort.EXPECTED_START_TIME_ASC
        return self.client.read_flow_runs(flow_filter=named, sort=by_time, limit=200)

    def finished(self, run: FlowRun) -> FlowRun:
        """Wait until a run is over."""

        def is_over() -> bool:
            state = self.client.read_flow_run(run.id).state
            return state is not None and state.is_final()

        self.until(is_over, f"the end of {run.name}")
        return self.client.read_flow_run(run.id)

    def until(self, question: Callable[[], Answer | None], what: str) -> Answer:
        """Ask until there is an answer; an AssertionError with the workers' logs after that."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := question()):
            if time.monotonic() > deadline:
                tails = (
                    f"--- {log.name}\n" + log.read_text(errors="replace")[-3000:]
                    for log in sorted(self.children.logs.glob("worker-*.log"))
                )
                raise AssertionError(f"{what}: not within {PATIENCE} s\n" + "\n".join(tails))
            time.sleep(0.5)
        return answer

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Have Prefect notice lost runs, and tell of failed ones, while the block runs.

        Not longer: on SQLite Prefect's server may stand still for the minute that it waits for a
        lock, and with the short patience of a test it would then take a living run for lost.
        """
        watch = ("flows.watch", "--silence", str(SILENCE), "--notify", "webhook/pager")
        self.children.run("automations", *watch)
        try:
            yield
        finally:
            for name in (LOST, FAILED):
                for each in self.client.read_automations_by_name(name):
                    self.client.delete_automation(each.id)

    @contextmanager
    def scheduled(self, deployment: UUID, schedule: DeploymentScheduleCreate) -> Iterator[None]:
        """Give a deployment a schedule while the block runs: the next test has its own."""
        [added] = self.client.create_deployment_schedules(deployment, [schedule])
        try:
            yield
        finally:
            self.client.delete_deployment_schedule(deployment, added.id)

    def artifacts(self, run: FlowRun) -> dict[str, Any]:
        """What a run shows, by key."""
        of_run = filters.ArtifactFilterFlowRunId(any_=[run.id])
        found = self.client.read_artifacts(
            artifact_filter=filters.ArtifactFilter(flow_run_id=of_run), limit=200
        )
        return {each.key: each.data for each in found if each.key}


@contextmanager
def site(folder: Path, alarms: str) -> Iterator[Site]:
    """Prefect and MLflow over HTTP, pools, every deployment of prefect.yaml; no worker yet.

    `alarms` is the address of a webhook that is told of failed runs.
    """
    prefect, mlflow = free_port(), free_port()
    urls = f"http://127.0.0.1:{prefect}/api", f"http://127.0.0.1:{mlflow}"
    home = folder / "home"
    home.mkdir()
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    environment = {
        **own, **QUIET, **IMPATIENT, **LOGGING, **HASTY,
        "HOME": str(home),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": urls[0],
        "MLFLOW_TRACKING_URI": urls[1],
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), own.get("PYTHONPATH", "")]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }  # fmt: skip
    with Children(REPOSITORY, folder / "logs", environment) as children:
        children.start("prefect", "prefect", "server", "start", "--no-ui", "--port", str(prefect))
        store = ("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--workers", "1")
        files = ("--serve-artifacts", "--artifacts-destination", str(folder / "mlartifacts"))
        children.start("mlflow", "mlflow", "server", "--port", str(mlflow), *store, *files)
        children.until_it_answers("prefect", f"{urls[0]}/health")
        for pool in ("cpu", "gpu"):
            create = ("work-pool", "create", pool, "--type", "process")
            children.run(f"pool-{pool}", "prefect", "--no-prompt", *create)
        children.run("deploy", "prefect", "--no-prompt", "deploy", "--all")
        children.until_it_answers("mlflow", f"{urls[1]}/health")
        with SyncPrefectClient(api=urls[0]) as client:
            with temporary_settings({PREFECT_API_URL: urls[0]}):
                Webhook(url=alarms).save("pager")
            here = Site(children, client, *urls)
            try:
                yield here
            finally:
                here.end_workers()


def descendants(process: int) -> list[int]:
    """Ids of every process below one, the nearest first."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = list(parents.get(process, []))
    for each in found:
        found.extend(parents.get(each, []))
    return found


def asking_below(here: Site, run: FlowRun) -> FlowRun | None:
    """The run below a night that waits for a person's answer."""
    below = filters.FlowRunFilterParentFlowRunId(any_=[run.id])
    found = here.client.read_flow_runs(
        flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=["approval"])),
        flow_run_filter=filters.FlowRunFilter(parent_flow_run_id=below),
    )
    return found[0] if found else None


def form_of(here: Site, asking: FlowRun) -> dict[str, Any]:
    """The schema of the form that a paused run asks to be filled in; empty where none does."""
    found = here.client.read_flow_run(asking.id).state
    if found is None or not found.is_paused() or found.state_details.run_input_keyset is None:
        return {}
    key = found.state_details.run_input_keyset["schema"]
    try:
        schema: dict[str, Any] = json.loads(here.client.read_flow_run_input(asking.id, key))
    except httpx.HTTPStatusError:  # paused a moment ago
        return {}
    return schema


def state(here: Site, run: FlowRun) -> str | None:
    found = here.client.read_flow_run(run.id).state
    return found.type.value if found else None


def online(here: Site, pool: str) -> bool:
    return any(
        worker.status and worker.status.value == "ONLINE"
        for worker in here.client.read_workers_for_work_pool(pool)
    )


def slot_of(here: Site) -> str:
    """Name of the limit that Prefect keeps for the deployment `nightly`."""
    deployment = here.client.read_deployment(here.deployment("nightly"))
    assert deployment.global_concurrency_limit is not None
    return str(deployment.global_concurrency_limit.name)
