"""SIGKILL in the midst of the walks: no half artifact, no finished block again, the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.store import Store, open_artifact

if TYPE_CHECKING:
    from tests.faults.conftest import Start

# One process compiles everything once, and kills a child of its own after each of the given rows.
# The last child is not killed. Each says which items it walks from; a block is an item.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from pinsage import stages
from pinsage.config import parse_config
from pinsage.graph import engines, stage
from pinsage.store import Store, open_artifact
import pinsage.content.stand_ins

config = parse_config(json.loads(sys.argv[1]))
graph, ingested = (open_artifact(Path(path)) for path in sys.argv[2:4])
stage.BLOCK_BYTES = 1
walker = engines.walker

def telling(*arguments):
    walk = walker(*arguments)
    def told(items):
        # In one piece: a line that a kill cut in two would be a riddle.
        os.write(1, (json.dumps({"walks": items.tolist()}) + os.linesep).encode())
        return walk(items)
    return told

def finished():
    marks = list((config.root / "scratch" / "neighbourhoods").glob("*/finished.json"))
    return json.loads(marks[0].read_text())["rows"] if marks else 0

engines.walker = telling
chance = random.Random(5)
for rows in [*map(int, sys.argv[4:]), None]:
    child = os.fork()
    if child == 0:
        stages.neighbourhoods(config, Store(config.root), graph, ingested)
        os._exit(0)
    if rows is not None:
        while finished() < rows and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.0002)
        time.sleep(chance.uniform(0.0, 0.01))  # a block later, or in the midst of one
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    made = [p.name for p in (config.root / "stages" / "neighbourhoods").glob("[!.]*")]
    found = {"signal": os.WTERMSIG(status), "finished": finished(), "made": made}
    print(json.dumps(found), flush=True)
"""


@pytest.mark.parametrize("by_content", [0, 2])
def test_a_killed_stage_goes_on_after_its_last_finished_block(
    tiny_run: SimpleNamespace, tmp_path: Path, start: Start, by_content: int
) -> None:
    tree: dict[str, Any] = tiny_run.config.model_dump(mode="json")
    walks = {**tree["neighbourhoods"], "by_content": by_content}
    config: Config = parse_config({**tree, "root": str(tmp_path / "var"), "neighbourhoods": walks})
    killer = start(
        KILLER, json.dumps(config.model_dump(mode="json")), tiny_run.full_graph.path,
        tiny_run.ingest.path, 5, 19, 30,
    )  # fmt: skip
    out, err = killer.communicate(timeout=120)
    walked: list[int] = []
    kills = []
    for line in map(json.loads, out.splitlines()):
        if "walks" in line:
            walked.extend(line["walks"])
            continue
        kills.append(line)
        if len(kills) < 4:
            assert line["made"] == []
            # All but what was under way when it was killed is finished, and is not walked again.
            assert line["finished"] <= len(set(walked)) <= line["finished"] + 1
            walked = walked[: line["finished"]]
            assert walked == list(range(line["finished"]))
    assert [each["signal"] for each in kills] == [9, 9, 9, 0], err
    assert all(each["finished"] >= rows for each, rows in zip(kills, (5, 19, 30), strict=False))
    assert walked == list(range(40))
    assert not list((config.root / "scratch" / "neighbourhoods").iterdir())
    elsewhere = Store(tmp_path / "elsewhere")
    expected = stages.neighbourhoods(config, elsewhere, tiny_run.full_graph, tiny_run.ingest)
    table = open_artifact(config.root / "stages" / "neighbourhoods" / kills[-1]["made"][0])
    assert table.digest() == expected.digest()
    assert table.facts == expected.facts
