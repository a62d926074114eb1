"""Row 1: SIGKILL in the middle of an epoch; the resumed run ends bitwise like one never stopped."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pinsage.config import Config
from pinsage.training.checkpoint import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from tests.conftest import RunStages
    from tests.faults.conftest import Start

# One process imports everything once, and kills a child of its own at each of the given steps.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from pinsage import stages
from pinsage.config import parse_config
from pinsage.store import Store
import pinsage.data.ingest, pinsage.data.snapshot, pinsage.data.split, pinsage.training.stage

config = parse_config(json.loads(sys.argv[1]))
steps = [int(step) for step in sys.argv[2:]]

def train():
    store = Store(config.root)
    ingest = stages.ingest(config, store, stages.snapshot(config, store))
    split = stages.split(config, store, ingest)
    graph = stages.graph(config, store, split, split)
    table = stages.neighbourhoods(config, store, graph, split)
    stages.train(config, store, split, graph, table)

def newest():
    names = [p.name for p in (config.root / "scratch" / "train").glob("*/step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)

chance = random.Random(3)
for step in steps:
    child = os.fork()
    if child == 0:
        train()
        os._exit(0)
    while newest() < step and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.0005)
    time.sleep(chance.uniform(0.0, 0.005))  # a step later, or in the midst of one
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"signal": os.WTERMSIG(status), "newest": newest()}), flush=True)
"""

# A checkpoint is written every 5 steps; an epoch has 19, and 2 are trained.
STEPS = sorted(random.Random(23).sample(range(2, 30), 4))  # noqa: S311, not for secrets


@pytest.fixture
def interrupted(tiny_run: SimpleNamespace, tmp_path: Path, start: Start) -> Config:
    """A run that was killed, resumed and killed again, in its first epoch and in its second."""
    config: Config = tiny_run.config.model_copy(update={"root": tmp_path / "var"})
    shutil.copytree(tiny_run.config.root, config.root)
    shutil.rmtree(config.root / "stages" / "train")
    killer = start(KILLER, json.dumps(config.model_dump(mode="json")), *STEPS)
    out, err = killer.communicate(timeout=120)
    kills = [json.loads(line) for line in out.splitlines()]
    assert [each["signal"] for each in kills] == [9] * len(STEPS), err
    epoch = -(-tiny_run.train.facts["num_pairs"] // config.training.batch_size)
    assert 0 < kills[0]["newest"] < epoch < kills[-1]["newest"] < 2 * epoch
    return config


def test_a_resumed_run_ends_with_the_same_bits(
    interrupted: Config,
    tiny_run: SimpleNamespace,
    run_stages: RunStages,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saved: list[int] = []
    save = Checkpoints.save

    def watched(self: Checkpoints, step: int, checkpoint: Checkpoint) -> None:
        saved.append(step)
        save(self, step, checkpoint)

    monkeypatch.setattr(Checkpoints, "save", watched)
    run: Any = run_stages(interrupted)
    assert not run.train.reused
    assert min(saved) > STEPS[-1]  # it went on from where it was killed, not from the start
    name = "model/weights.safetensors"
    assert run.train.file(name).read_bytes() == tiny_run.train.file(name).read_bytes()
    assert run.embed.digest() == tiny_run.embed.digest()
    assert run.version.name == tiny_run.version.name
    histories = [json.loads(r.train.file("history.json").read_text()) for r in (run, tiny_run)]
    for epoch in (*histories[0], *histories[1]):
        del epoch["seconds"]
    assert histories[0] == histories[1]
    assert not list((interrupted.root / "scratch" / "train").iterdir())
