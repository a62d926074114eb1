"""Ray's workers train as processes of the stage's own do, and as one does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pinsage import stages
from pinsage.cluster import import_ray
from pinsage.config import CHANGES_NO_WEIGHT, Config, TrainingConfig, parse_config
from pinsage.errors import TrainingError
from pinsage.model.io import load_model
from pinsage.store import Artifact, Store
from pinsage.training import launch
from pinsage.training.loop import EpochReport
from pinsage.training.ray_launch import _takes_gpus

ray = pytest.importorskip("ray", reason="Ray, the extra `ray`, is not installed")
Train = Callable[..., Artifact]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of a CPU each, so that two workers are on different ones."""
    import_ray()
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def train(tiny_run: SimpleNamespace, tmp_path: Path) -> Train:
    """`train(on_epoch=None, **groups)` trains on the tiny data, each in a store of its own."""
    count = iter(range(100))

    def run(
        on_epoch: Callable[[EpochReport], None] | None = None, **groups: dict[str, Any]
    ) -> Artifact:
        config = changed(tiny_run.config, tmp_path / f"{next(count)}", **groups)
        inputs = (tiny_run.split, tiny_run.graph, tiny_run.table)
        return stages.train(config, Store(config.root), *inputs, on_epoch=on_epoch)

    return run


STAGE = """
import json, sys
from pathlib import Path
from pinsage import stages
from pinsage.config import parse_config
from pinsage.store import Store, open_artifact
config = parse_config(json.loads(sys.argv[1]))
inputs = [open_artifact(Path(path)) for path in sys.argv[2:]]
stages.train(config, Store(config.root), *inputs, on_epoch=lambda _: print("an epoch", flush=True))
"""


def changed(config: Config, root: Path, **groups: dict[str, Any]) -> Config:
    tree = config.model_dump(mode="json")
    training = {"batch_size": 61, "threads": 1, "processes": 2, **groups.pop("training", {})}
    merged = {
        name: {**tree[name], **values} for name, values in (groups | {"training": training}).items()
    }
    return parse_config({**tree, **merged, "root": str(root)})


def on(cluster: Any) -> dict[str, Any]:
    return {"launcher": "ray", "address": cluster.address}


def losses(trained: Artifact) -> list[float]:
    return [epoch["loss"] for epoch in json.loads(trained.file("history.json").read_text())]


def weights(trained: Artifact) -> dict[str, torch.Tensor]:
    return load_model(trained.path / "model").state_dict()


def children(parents: set[int]) -> dict[int, str]:
    """Processes below some, and what they call themselves."""
    found: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            name = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent in parents:
            found[int(folder.name)] = name
    return found | (children(set(found)) if found else {})


def workers(cluster: Any) -> set[int]:
    """Ids of a cluster's training processes."""
    raylets = {
        process.process.pid
        for node in cluster.list_all_nodes()
        for process in node.all_processes["raylet"]
    }
    return {pid for pid, name in children(raylets).items() if "RayTrainWorker" in name}


def is_running(pid: int) -> bool:
    """Whether a process does anything yet: not so one that only waits for init to take note."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def assert_gone(processes: set[int], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while left := [pid for pid in processes if is_running(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.distributed
@pytest.mark.slow
def test_two_workers_on_two_nodes_have_the_loss_curve_of_one(cluster: Any, train: Train) -> None:
    told: list[EpochReport] = []
    alone, together = train(training={"processes": 1}), train(told.append, training=on(cluster))
    assert losses(together) == pytest.approx(losses(alone), rel=1e-5)
    assert [report.loss for report in told] == losses(together)
    for name, value in weights(alone).items():
        torch.testing.assert_close(weights(together)[name], value, rtol=1e-3, atol=1e-4)
    assert_gone(workers(cluster))


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.parametrize("which", [0, 1])
def test_a_killed_worker_is_replaced_and_the_weights_are_those_of_plain_processes(
    cluster: Any, train: Train, which: int
) -> None:
    longer = {"epochs": 8, "patience": 8, "checkpoint_steps": 1}
    whole = train(training=longer)
    told: list[int] = []
    first, seen = set[int](), set[int]()

    def kill(report: EpochReport) -> None:
        told.append(report.epoch)
        seen.update(workers(cluster))
        if report.epoch == 1:
            first.update(seen)
            os.kill(sorted(first)[which], signal.SIGKILL)

    again = train(kill, training={**longer, **on(cluster)})
    assert told == [*range(1, 9)]  # each once, though some were reached twice
    assert len(first) == 2
    assert seen - first  # it was not at its end before the kill
    assert losses(again) == losses(whole)
    assert all(torch.equal(weights(again)[name], value) for name, value in weights(whole).items())
    assert again.manifest.key == whole.manifest.key
    assert_gone(workers(cluster))


@pytest.mark.distributed
@pytest.mark.slow
def test_an_expected_error_in_a_worker_is_the_stages_own(cluster: Any, train: Train) -> None:
    with pytest.raises(TrainingError, match=r"^the loss became (nan|inf) in epoch \d, step \d+"):
        train(model={"normalize": False}, training={"learning_rate": 1e30, **on(cluster)})
    assert_gone(workers(cluster))


@pytest.mark.distributed
@pytest.mark.slow
def test_one_worker_on_a_cluster_of_its_own_ends_with_it(train: Train) -> None:
    seen: set[int] = set()

    def note(report: EpochReport) -> None:
        below = children({os.getpid()})
        drivers = {pid for pid, name in below.items() if "ray_launch" in name}
        seen.update(drivers, children(drivers))

    on_ray = train(note, training={"processes": 1, "launcher": "ray"})
    assert losses(on_ray) == losses(train(training={"processes": 1}))
    assert len(seen) > 3
    assert_gone(seen)


@pytest.mark.distributed
@pytest.mark.slow
def test_a_killed_stage_leaves_no_process(tiny_run: SimpleNamespace, tmp_path: Path) -> None:
    config = changed(tiny_run.config, tmp_path, training={"launcher": "ray", "epochs": 1000})
    folders = [str(each.path) for each in (tiny_run.split, tiny_run.graph, tiny_run.table)]
    command = [sys.executable, "-c", STAGE, config.model_dump_json(), *folders]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as stage:
        assert stage.stdout is not None
        assert stage.stdout.readline() == b"an epoch\n"
        below = children({stage.pid})
        stage.kill()
    training = {pid for pid, name in below.items() if "RayTrainWorker" in name}
    assert len(training) == 2
    assert_gone(training)
    # Two agents of Ray's look for the head that is gone with the driver before they end as well.
    assert_gone(set(below), seconds=150)


def test_a_cluster_that_is_too_small_is_refused_before_anything_waits_for_it() -> None:
    training = TrainingConfig(processes=3, threads=2, device="cuda", address="here:1")
    with pytest.raises(TrainingError, match=r"at 'here:1' has 2 GPUs for 3 processes; add some"):
        _takes_gpus(training, {"CPU": 64.0, "GPU": 2.0})
    with pytest.raises(TrainingError, match=r"each need 6 CPUs, and .* at 'here:1' has 5; add"):
        _takes_gpus(training, {"CPU": 5.0, "GPU": 3.0})
    assert _takes_gpus(training, {"CPU": 6.0, "GPU": 3.0})
    automatic = training.model_copy(update={"device": "auto"})
    assert _takes_gpus(automatic, {"CPU": 6.0, "GPU": 3.0})
    assert not _takes_gpus(automatic, {"CPU": 6.0, "GPU": 2.0})
    assert not _takes_gpus(training.model_copy(update={"device": "cpu"}), {"CPU": 6.0, "GPU": 3.0})


def test_two_ways_to_start_workers_are_refused(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(launch.COMMAND, "torchrun --nproc-per-node 2")
    with pytest.raises(TrainingError, match=r"launcher is ray, and PINSAGE_LAUNCH .*: unset it"):
        train(training={"launcher": "ray"})


def test_what_starts_the_workers_is_no_part_of_the_key() -> None:
    assert {"launcher", "address"} <= CHANGES_NO_WEIGHT
    assert "processes" not in CHANGES_NO_WEIGHT  # sums in another order
