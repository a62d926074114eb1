"""Row 2: SIGKILL while a checkpoint is written; the one before is used, the part is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from pinsage.training.checkpoint import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from tests.faults.conftest import Start

# One process imports torch once; each of its children saves in a loop until it is killed.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from pinsage.training.checkpoint import Checkpoint, Checkpoints

folder = Path(sys.argv[1])
torch.set_num_threads(1)  # a child cannot use the threads that its parent had
chance = random.Random(5)
for round in range(12):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        checkpoints, step = Checkpoints(folder), 1000 * round
        while True:
            step += 1
            weights = torch.full((200_000,), float(step))
            checkpoints.save(step, Checkpoint({"weights": weights}, {"step": step}))
            os.write(writer, f"{step}\\n".encode())
    os.close(writer)
    first = os.read(reader, 100).decode()
    time.sleep(chance.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    told = first + os.fdopen(reader).read()
    part = [p.name for p in folder.glob(".staging-*")]
    found = Checkpoints(folder).latest()
    whole = bool((found.tensors["weights"] == float(found.state["step"])).all())
    print(json.dumps({
        "told": int(told.split()[-1]), "found": found.state["step"], "whole": whole,
        "part": len(part), "left": len(list(folder.glob("step-*"))),
    }), flush=True)
"""


def test_the_newest_finished_checkpoint_is_whole_after_every_kill(
    tmp_path: Path, start: Start
) -> None:
    out, err = start(KILLER, tmp_path).communicate(timeout=120)
    rounds = [json.loads(line) for line in out.splitlines()]
    assert len(rounds) == 12, err
    for each in rounds:
        assert each["whole"]
        # What the process said it had saved is there, or the one that it was just finishing.
        assert each["found"] in (each["told"], each["told"] + 1)
        assert each["left"] <= 3  # two are kept, and one more for an instant
        assert each["part"] <= 1  # what the kill before left was swept
    assert any(each["part"] for each in rounds), "no kill fell into the writing of a checkpoint"
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(99_999, Checkpoint({"weights": torch.zeros(1)}, {"step": 99_999}))
    assert not list(tmp_path.glob(".staging-*"))
