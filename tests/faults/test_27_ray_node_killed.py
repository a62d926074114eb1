"""Row 27: a Ray worker process or a node is killed in inference; the job has the same result."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinsage.cluster import connected
from pinsage.inference.engine import Job
from pinsage.inference.ray_engine import RayEngine
from tests.inference.engine_contract import TOLERANCE, Case, embedded, make_case
from tests.inference.ray_nodes import ray_leaves_processes, ray_nodes

pytestmark = [pytest.mark.slow, pytest.mark.distributed, ray_leaves_processes]
pytest.importorskip("ray", reason="Ray is an extra")

PARTS, LAYERS = 12, 3
SETTINGS: dict[str, Any] = {"partitions": PARTS, "order": "locality"}
PATIENCE = 120.0


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Blocks of few items, so that a task takes long enough to be killed in."""
    folder = tmp_path_factory.mktemp("case")
    return make_case(folder, num_items=20_000, layers=LAYERS, hidden=64)


@pytest.fixture
def cluster() -> Iterator[Any]:
    with ray_nodes(3) as nodes:
        yield nodes


class Killer(threading.Thread):
    """Does something once when the first part of a layer is there, while the block runs."""

    def __init__(self, job: Job, layer: int, kill: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._job, self._layer, self._kill = job, layer, kill
        self._over = threading.Event()
        self.finished_before: int | None = None

    def __enter__(self) -> Killer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.002):
            if self.count(self._layer):
                self._kill()
                self.finished_before = self.count(LAYERS)
                return

    def count(self, layer: int) -> int:
        return len(list(self._job.scratch.glob(f"*/layer-{layer}-*.npy")))


def raylet_of(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def busy_worker(raylet: int) -> int:
    """A process of a node in the middle of a task."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                parent = next(x for x in status.read_text().splitlines() if x.startswith("PPid"))
                title = (status.parent / "cmdline").read_bytes()
            except (OSError, StopIteration):
                continue  # it has ended
            if int(parent.split()[1]) == raylet and title.startswith(b"ray::_"):
                return int(status.parent.name)
    raise AssertionError("no worker was ever busy")


@pytest.mark.parametrize("layer", [1, 2])
def test_a_node_is_killed(case: Case, cluster: Any, tmp_path: Path, layer: int) -> None:
    victim = max(cluster.worker_nodes, key=lambda node: node.node_ip_address)
    killer = Killer(case.job, layer, lambda: os.kill(raylet_of(victim), signal.SIGKILL))
    with connected(cluster.address) as ray, killer:
        found = embedded(RayEngine(), case.job, tmp_path / "out", **SETTINGS)
        dead = [node["NodeManagerAddress"] for node in ray.nodes() if not node["Alive"]]
    assert killer.finished_before is not None
    assert killer.finished_before < PARTS, "it was over before the node was killed"
    assert dead == [victim.node_ip_address]
    np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])


def test_worker_processes_are_killed(case: Case, cluster: Any, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill() -> None:
        for node in cluster.worker_nodes:
            killed.append(busy_worker(raylet_of(node)))
            os.kill(killed[-1], signal.SIGKILL)

    killer = Killer(case.job, 1, kill)
    with connected(cluster.address), killer:
        found = embedded(RayEngine(), case.job, tmp_path / "out", **SETTINGS)
    assert killer.finished_before is not None
    assert killer.finished_before < PARTS, "it was over before workers were killed"
    assert len(set(killed)) == 3
    np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])
