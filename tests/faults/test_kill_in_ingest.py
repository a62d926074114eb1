"""Ingest is killed at any moment: nothing half is left, and the next run ends as if nothing was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.store import Artifact, Store, open_artifact

if TYPE_CHECKING:
    from tests.faults.conftest import Start

NUM_ROUNDS = 10

# Imports once; each child snapshots and ingests the folder under a root of its own, and is killed.
KILLER = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
from pinsage import stages
from pinsage.config import parse_config
from pinsage.store import Store
import pinsage.data.ingest, pinsage.data.snapshot

config = parse_config(json.loads(sys.argv[1]))
store = Store(config.root)
chance = random.Random(5)
for round in range(int(sys.argv[2])):
    for stage in ("ingest", "snapshot"):
        shutil.rmtree(config.root / "stages" / stage, ignore_errors=True)
    child = os.fork()
    if child == 0:
        stages.ingest(config, store, stages.snapshot(config, store))
        os._exit(0)
    if round % 2:  # in ingest, however fast the machine is
        deadline = time.monotonic() + 60
        while not [*config.root.glob("stages/ingest/.staging-*")] and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
    else:
        time.sleep(chance.uniform(0.02, 0.8))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    halves = [str(path.relative_to(config.root)) for path in config.root.rglob(".staging-*")]
    whole = [str(p) for p in config.root.glob("stages/*/[!.]*")]
    print(json.dumps([os.WIFSIGNALED(status), halves, whole]), flush=True)
"""


def files_of(artifact: Artifact) -> dict[str, bytes]:
    return {name: artifact.file(name).read_bytes() for name in artifact.manifest.files}


def ingest(config: Config) -> Artifact:
    store = Store(config.root)
    return stages.ingest(config, store, stages.snapshot(config, store))


@pytest.mark.slow
def test_a_killed_ingest_leaves_no_half_and_repeats_no_finished_part(
    tmp_path: Path, start: Start
) -> None:
    draw = np.random.default_rng(0)
    (tmp_path / "log").mkdir()
    for day in range(4):
        size = 150_000
        table = {
            "user_id": draw.integers(0, 20_000, size),
            "item_id": np.char.mod("i%d", draw.integers(0, 5_000, size)),
            "timestamp": draw.integers(day * 86_400, (day + 1) * 86_400, size),
        }
        file = tmp_path / "log" / f"{day}.parquet"
        pq.write_table(pa.table({k: pa.array(v) for k, v in table.items()}), file)
    tree = {"name": "log", "data": {"interactions": {"path": str(tmp_path / "log")}}}
    config = parse_config({**tree, "root": str(tmp_path / "killed")})
    killer = start(KILLER, json.dumps(config.model_dump(mode="json")), NUM_ROUNDS)
    out, err = killer.communicate()
    rounds = [json.loads(line) for line in out.splitlines()]
    assert len(rounds) == NUM_ROUNDS, err
    assert any(
        killed and any(half.startswith("stages/ingest/") for half in halves)
        for killed, halves, _ in rounds
    ), "no kill fell into ingest"
    for path in {path for _, _, whole in rounds for path in whole if Path(path).exists()}:
        open_artifact(Path(path))
    parts = {path: path.stat().st_mtime_ns for path in config.root.glob("stages/part/[!.]*")}
    assert parts, "no part was finished"
    made = ingest(config)
    assert {path: path.stat().st_mtime_ns for path in parts} == parts
    assert not [*config.root.rglob(".staging-*"), *config.root.rglob(".spill-*")]
    untouched = ingest(parse_config({**tree, "root": str(tmp_path / "untouched")}))
    assert files_of(made) == files_of(untouched)
