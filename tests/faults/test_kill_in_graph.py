"""SIGKILL while the graph is built: no half artifact, no finished block again, the same bytes."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Start

NUM_ROWS, NUM_ITEMS = 60_000, 500

# One process imports everything once, and kills a child of its own at each of the given places.
KILLER = """
import json, os, random, re, signal, sys, time
from pathlib import Path
from pinsage import progress
from pinsage.config import GraphConfig
from pinsage.graph.construction.stage import write_graph
from pinsage.store import Store

root, edges, places = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
progress._INTERVAL = 0.0  # every block is told of
settings = GraphConfig(weights="sum", max_context_degree=40)

def build(log):
    def tell(moment):
        if log:
            os.write(log, f"{moment.part},{moment.done},{moment.total}\\n".encode())
    def stage(work):
        return write_graph(edges, int(sys.argv[4]), settings, 3, out=work.path,
                           scratch=work.scratch, memory=150_000, listener=tell)
    return Store(root).stage("graph", stage, settings={}, inputs={}, code=("pinsage.errors",))

def reached():
    scratch = root / "scratch" / "graph"
    runs = len([*scratch.glob("*/run-*.bin")])
    rows = {}
    for name in ("context", "item"):
        state = next(iter(scratch.glob(f"*/{name}.json")), None)
        rows[name] = json.loads(state.read_text())["rows"] if state else 0
    linked = len([*(root / "stages" / "graph").glob(".staging-*/*.npy")])
    return {"runs": runs, **rows, "linked": linked}

chance = random.Random(11)
for key, least in places:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        build(writer)
        os._exit(0)
    os.close(writer)
    while reached()[key] < least and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.0002)
    time.sleep(chance.uniform(0.0, 0.002))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    told = os.fdopen(reader).read().splitlines()
    visible = [path.name for path in (root / "stages" / "graph").glob("[!.]*")]
    print(json.dumps({"signal": os.WTERMSIG(status), "visible": visible, "told": told,
                      "reached": reached()}), flush=True)
print(json.dumps({"path": str(build(0).path)}), flush=True)
"""

PLACES = [("runs", 3), ("runs", 8), ("context", 30), ("context", 200), ("item", 100), ("item", 400),
          ("linked", 1)]  # fmt: skip


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    file = tmp_path / "edges.parquet"
    columns = {
        "item_row": (rng.random(NUM_ROWS) ** 2 * NUM_ITEMS).astype(np.int32),
        "user_row": (rng.random(NUM_ROWS) ** 2 * 2000).astype(np.int32),
        "weight": rng.integers(0, 5, NUM_ROWS).astype(np.float32),
    }
    pq.write_table(pa.table({k: pa.array(v) for k, v in columns.items()}), file)
    return file


def finished(told: list[str], *, first: bool) -> dict[str, int]:
    """What was done of each part, when a process began with it or when it ended."""
    done: dict[str, int] = {}
    for line in told:
        part, count, _ = line.split(",")
        if not (first and part in done):
            done[part] = int(count)
    return done


@pytest.mark.slow
def test_a_killed_build_goes_on_where_it_was_and_ends_with_the_same_bytes(
    tmp_path: Path, edges: Path, start: Start
) -> None:
    out, err = start(KILLER, tmp_path / "var", edges, json.dumps(PLACES), NUM_ITEMS).communicate(
        timeout=180
    )
    *kills, end = [json.loads(line) for line in out.splitlines()] or [{}]
    assert len(kills) == len(PLACES), err
    assert [each["signal"] for each in kills] == [9] * len(PLACES)
    assert [each["visible"] for each in kills] == [[]] * len(PLACES)
    check_nothing_is_repeated(kills)
    whole = start(KILLER, tmp_path / "other", edges, "[]", NUM_ITEMS)
    out, err = whole.communicate(timeout=60)
    other = Path(json.loads(out)["path"])
    names = sorted(path.name for path in other.glob("*.npy"))
    assert len(names) == 6
    for name in names:
        assert (Path(end["path"]) / name).read_bytes() == (other / name).read_bytes(), name
    assert not list((tmp_path / "var" / "scratch" / "graph").iterdir())
    assert not list((tmp_path / "var" / "stages" / "graph").glob(".*"))


def check_nothing_is_repeated(kills: list[Any]) -> None:
    resumed = set()
    for before, after in pairwise(kills):
        ended, began = finished(before["told"], first=False), finished(after["told"], first=True)
        for part, done in began.items():
            assert done >= ended.get(part, 0), part
            resumed |= {part} if done else set()
        for place in ("context", "item"):
            assert after["reached"][place] >= before["reached"][place]
    # Every part was killed in its midst at least once, and its beginning not done again.
    assert resumed == {"reading interactions", "sorting contexts", "transposing to items"}
