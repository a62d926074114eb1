"""Two processes, each with half of every step's pairs, train as one does."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pinsage import stages
from pinsage.config import Config, NegativesConfig, parse_config
from pinsage.errors import ConfigError, TrainingError
from pinsage.model.io import load_model
from pinsage.store import Artifact, Store
from pinsage.training import launch
from pinsage.training.loader import MiniBatch, PairLoader
from pinsage.training.loop import EpochReport
from pinsage.training.negatives import HardNegatives, PositiveSets, SharedNegatives
from pinsage.training.sampler import NeighbourhoodSampler
from pinsage.training.stage import pick_device
from pinsage.training.team import Team

Train = Callable[..., Artifact]

PAPER: dict[str, Any] = {"negatives": {"hard": 2, "hard_from": 0.1, "hard_to": 0.9}}
OURS: dict[str, Any] = {
    "training": {"loss": "softmax", "hold_out_edges": True, "spread": 0.5, "average": 0.9},
    "negatives": {"in_batch": True},
}
WHOLE: dict[str, Any] = {
    "training": {"loss": "full_softmax", "passes": 2, "spread": 0.5},
    "negatives": {"exclude_positives": False},
    "model": {"query_map": True},
}
TORCHRUN = f"{sys.executable} -m torch.distributed.run --standalone --nproc-per-node 2"


@pytest.fixture
def train(tiny_run: SimpleNamespace, tmp_path: Path) -> Train:
    """`train(processes, on_epoch=None, **groups)` trains on the tiny data, in its own store."""

    def run(
        processes: int,
        on_epoch: Callable[[EpochReport], None] | None = None,
        **groups: dict[str, Any],
    ) -> Artifact:
        tree = tiny_run.config.model_dump(mode="json")
        training = {"batch_size": 61, **groups.get("training", {}), "processes": processes}
        groups = {**groups, "training": training}
        merged = {name: {**tree[name], **values} for name, values in groups.items()}
        config: Config = parse_config({**tree, **merged, "root": str(tmp_path / f"{processes}")})
        inputs = (tiny_run.split, tiny_run.graph, tiny_run.table)
        return stages.train(config, Store(config.root), *inputs, on_epoch=on_epoch)

    return run


def history_of(trained: Artifact) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = json.loads(trained.file("history.json").read_text())
    return history


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("groups", "command"),
    [(PAPER, ""), (OURS, TORCHRUN), (WHOLE, "")],
    ids=["max-margin", "softmax torchrun", "full softmax"],
)
def test_two_processes_have_the_loss_curve_of_one(
    train: Train, monkeypatch: pytest.MonkeyPatch, groups: dict[str, Any], command: str
) -> None:
    alone = train(1, **groups)
    assert alone.facts["num_pairs"] % 61 == 1  # parts of 30 and 31, and at last of 0 and 1
    monkeypatch.setenv(launch.COMMAND, command)
    told: list[EpochReport] = []
    together = train(2, told.append, **groups)
    curves = [[epoch["loss"] for epoch in history_of(each)] for each in (alone, together)]
    assert curves[1] == pytest.approx(curves[0], rel=1e-5)
    assert [report.loss for report in told] == curves[1]
    assert together.facts["best_epoch"] == alone.facts["best_epoch"]
    assert set(together.facts) == set(alone.facts)
    weights = [load_model(each.path / "model").state_dict() for each in (alone, together)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-3, atol=1e-4)
    assert together.manifest.key != alone.manifest.key  # equal to tolerance, not to the bit


@pytest.mark.distributed
def test_a_killed_process_ends_the_stage_and_the_next_run_resumes(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(2)
    reported: list[EpochReport] = []
    shutil.rmtree(tmp_path / "2" / "stages")
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        started.append(popen(*arguments, **options))
        return started[-1]

    def kill(report: EpochReport) -> None:
        reported.append(report)
        started[1].kill()

    monkeypatch.setattr(subprocess, "Popen", noted)
    before = time.monotonic()
    with pytest.raises(TrainingError, match=r"process 1 of 2 was killed by SIGKILL.*run again"):
        train(2, kill)
    assert time.monotonic() - before < 60
    assert all(process.poll() is not None for process in started)
    (scratch,) = (tmp_path / "2" / "scratch" / "train").glob("*/")
    assert all(path.name.startswith("step-") for path in scratch.iterdir())
    resumed = train(2)
    # Wall time and all: the first epoch was not trained again.
    assert history_of(resumed)[0] == asdict(reported[0])
    assert [epoch["loss"] for epoch in history_of(resumed)] == pytest.approx(
        [epoch["loss"] for epoch in history_of(whole)], rel=1e-6
    )


@pytest.mark.distributed
def test_an_expected_error_in_a_process_is_the_stages_own(train: Train) -> None:
    with pytest.raises(TrainingError, match=r"^the loss became (nan|inf) in epoch \d, step \d+"):
        train(2, model={"normalize": False}, training={"learning_rate": 1e30})


@pytest.mark.distributed
def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    owner = [socket.gethostname(), os.getpid()]
    waits = (
        "import os, sys, time; from threading import Thread; from pinsage.training import launch;"
        "Thread(target=launch.end_with, args=(os.getppid(), *eval(sys.argv[1]))).start();"
        "print('up', flush=True); time.sleep(60)"
    )
    starts = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    command = [sys.executable, "-c", starts, waits, repr(owner)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"up\n"
        parent.kill()
        before = time.monotonic()
        assert parent.stdout.read() == b""  # the pipe is closed when the worker is gone as well
        assert time.monotonic() - before < 20


def test_parts_are_equal_contiguous_and_all() -> None:
    count = 61
    for size in (1, 2, 3, 8, 61, 70):
        parts = [range(count)[Team(rank, size).part(count)] for rank in range(size)]
        assert [row for part in parts for row in part] == list(range(count))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("batch_size", [1, 32, 33])
def test_parts_share_the_negatives_and_together_are_the_batch(
    town: SimpleNamespace, batch_size: int
) -> None:
    def batches(team: Team) -> list[MiniBatch]:
        config = NegativesConfig(shared=10, in_batch=True, hard=2, hard_from=0.1, hard_to=0.9)
        pairs = town.pairs
        sampler = NeighbourhoodSampler(
            town.table,
            hops=2,
            negatives=SharedNegatives.of(town.degree, pairs.positive_row, config, seed=1),
            hard=HardNegatives.of(town.graph, PositiveSets(pairs, 50), config, 1),
            team=team,
        )
        loader = PairLoader(
            town.training, [town.table], town.features, sampler,
            batch_size=batch_size, seed=1, hold_out_edges=True,
        )  # fmt: skip
        loader.begin(2)
        return list(loader)

    teams = [batches(Team()), batches(Team(0, 2)), batches(Team(1, 2))]
    for whole, *parts in zip(*teams, strict=True):
        rows = whole.nodes.rows_S
        for name in ("query_P", "positive_P"):
            expected = rows[getattr(whole, name)]
            found = [part.nodes.rows_S[getattr(part, name)] for part in parts]
            assert torch.equal(torch.cat(found), expected)
        for part in parts:
            assert torch.equal(part.nodes.rows_S[part.negative_M], rows[whole.negative_M])
            assert torch.equal(part.log_chance_M, whole.log_chance_M)
            assert_same_table(part, whole)
        assert torch.equal(torch.cat([part.allowed_PM for part in parts]), whole.allowed_PM)
        assert sum(part.share.item() for part in parts) == pytest.approx(1.0)
        assert [part.hard_Ph.shape for part in parts] == [(len(p.query_P), 2) for p in parts]


def assert_same_table(part: MiniBatch, whole: MiniBatch) -> None:
    """What is held out is held out in every part, where it has the items."""
    place = {row: at for at, row in enumerate(whole.nodes.rows_S.tolist())}
    names = [*part.nodes.rows_S.tolist(), -1], [*whole.nodes.rows_S.tolist(), -1]
    for at, near in enumerate(part.nodes.neighbors_BT.tolist()):
        other = place[names[0][at]]
        if other < len(whole.nodes.neighbors_BT):
            expected = whole.nodes.neighbors_BT[other].tolist()
            assert [names[0][n] for n in near] == [names[1][n] for n in expected]
            assert torch.equal(part.nodes.weights_BT[at], whole.nodes.weights_BT[other])


def test_more_processes_than_pairs_of_a_step_are_refused(tiny_run: SimpleNamespace) -> None:
    tree = tiny_run.config.model_dump(mode="json")
    tree["training"] |= {"batch_size": 3, "processes": 4}
    with pytest.raises(ConfigError, match=r"or raise `batch_size` .got 4 for 3"):
        parse_config(tree)


def test_a_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(pick_device("auto", place)) for place in (0, 1)] == ["cuda", "cuda:1"]
    assert str(pick_device("cpu", 5)) == "cpu"
    with pytest.raises(TrainingError, match="needs GPU 2 of this host, which has 2; lower it"):
        pick_device("auto", 2)
