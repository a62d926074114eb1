"""Row 28, step by step: publish is killed before each thing it does to the disk, one after another.

An audit hook counts what a publication makes, writes, renames and removes; process number i is
killed before its step i, until one comes through. Nothing is left to chance.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pinsage.retrieval.published import load_published
from pinsage.retrieval.versions import list_versions
from tests.faults.publishers import EDITIONS, STEPS
from tests.retrieval.conftest import artifacts, shelf_config

if TYPE_CHECKING:
    from tests.faults.conftest import Start

KEEP = 2
NUM_EDITIONS = 4  # two more than are kept, so that each publication makes one and removes one

# A clean parent imports everything, and each of its children dies at its own step. After each it
# waits until the test has looked, then publishes the edition whole and waits again.
KILLER = (
    EDITIONS
    + STEPS
    + """
here = str(config.root / "published")
steps = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.copyfile", "shutil.rmtree"}

def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR) and str(path).startswith(here):
            step()
    elif event in steps and any(str(each).startswith(here) for each in arguments[:2]):
        step()

sys.addaudithook(watch)
flush = os.fsync
os.fsync = lambda descriptor: (step(), flush(descriptor))[1]

number, at = 0, 0
while True:
    at += 1
    number = (number + 1) % len(editions)
    status = publish_in_a_child(editions[number], at)
    print(json.dumps([at, number, os.WIFSIGNALED(status), status]), flush=True)
    input()
    assert publish_in_a_child(editions[number], 10**9) == 0
    print(json.dumps([at, number]), flush=True)
    input()
    if not os.WIFSIGNALED(status):
        break
"""
)


@pytest.mark.slow
@pytest.mark.distributed
def test_readers_see_a_whole_version_after_a_kill_at_every_step(
    tmp_path: Path, start: Start
) -> None:
    config = shelf_config(tmp_path, KEEP)
    ids = [f"i{row}" for row in range(12)]
    editions = []
    for number in range(NUM_EDITIONS):
        # Unlike in all its entries, so that none can be taken for a part of another.
        matrix = np.full((12, 4), number, dtype=np.float32)
        editions.append(artifacts(config, ids, [f"Film {i}" for i in ids], matrix))
    from pinsage.retrieval.publish import publish

    publish(config, **editions[0])

    def seen() -> int:
        found = load_published(tmp_path, "films")
        number = int(found.vectors[0, 0])
        assert (found.vectors == number).all()
        assert found.manifest.inputs["embeddings"] == editions[number]["embedded"].digest()
        return number

    paths = [{name: str(a.path) for name, a in edition.items()} for edition in editions]
    settings = json.dumps(config.model_dump(mode="json"))
    killer = start(KILLER.replace("input()", "sys.stdin.readline()"), settings, json.dumps(paths))
    assert killer.stdout is not None
    assert killer.stdin is not None
    before, killed_with = 0, set()
    while line := killer.stdout.readline():
        at, number, killed, status = json.loads(line)
        found = seen()
        assert found in (before, number), f"step {at}"
        assert killed or status == 0, f"step {at}: publication {number} failed by itself"
        killed_with.add((killed, found == number))
        killer.stdin.write("\n")
        killer.stdin.flush()
        assert json.loads(killer.stdout.readline()) == [at, number], killer.communicate()[1]
        before = seen()
        assert before == number, f"step {at}: not published when run again"
        versions = list_versions(tmp_path, "films")
        assert [each.current for each in versions].count(True) == 1
        assert len(versions) <= KEEP
        killer.stdin.write("\n")
        killer.stdin.flush()
    assert killer.wait() == 0, killer.communicate()[1]
    # Kills fell before and after the switch, and the last publication came through.
    assert killed_with == {(True, False), (True, True), (False, True)}
    assert not list(tmp_path.glob("published/*/.staging-*"))
