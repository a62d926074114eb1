"""Row 28 on an object store: killed before each request it makes, readers see a whole version."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pinsage.config import changed
from pinsage.retrieval.publish import publish
from pinsage.retrieval.published import load_published
from tests.faults.publishers import EDITIONS, STEPS
from tests.retrieval.conftest import artifacts, shelf_config
from tests.retrieval.stores import s3_server

if TYPE_CHECKING:
    from tests.faults.conftest import Start

KEEP = 2
NUM_EDITIONS = 4

# Requests are counted where s3fs makes them; nothing was asked before a child is forked.
KILLER = (
    EDITIONS
    + STEPS
    + """
import s3fs
ask = s3fs.S3FileSystem._call_s3

async def counted(self, method, *arguments, **keywords):
    step()
    return await ask(self, method, *arguments, **keywords)

s3fs.S3FileSystem._call_s3 = counted

number, at = 0, 0
while True:
    at += 1
    number = (number + 1) % len(editions)
    status = publish_in_a_child(editions[number], at)
    print(json.dumps([at, number, os.WIFSIGNALED(status), status]), flush=True)
    sys.stdin.readline()
    if not os.WIFSIGNALED(status):
        break
"""
)


@pytest.mark.slow
@pytest.mark.distributed
def test_readers_of_a_store_see_a_whole_version_after_a_kill_at_every_request(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINSAGE_CACHE", str(tmp_path / "cache"))
    with s3_server(monkeypatch) as url:
        config = changed(shelf_config(tmp_path / "var", KEEP), {"publish.to": url})
        ids = [f"i{row}" for row in range(12)]
        editions = [
            artifacts(config, ids, ids, np.full((12, 4), number, dtype=np.float32))
            for number in range(NUM_EDITIONS)
        ]
        publish(config, **editions[0])
        paths = [{name: str(a.path) for name, a in edition.items()} for edition in editions]
        killer = start(KILLER, json.dumps(config.model_dump(mode="json")), json.dumps(paths))
        assert killer.stdout is not None
        assert killer.stdin is not None
        followed, outcomes = 0, set()
        while line := killer.stdout.readline():
            at, number, killed, status = json.loads(line)
            assert killed or status == 0, f"request {at}: {killer.communicate()[1]}"
            found = load_published(url, "films")
            edition = int(found.vectors[0, 0])
            assert (found.vectors == edition).all(), f"request {at}"
            assert edition in (followed, number), f"request {at}"
            outcomes.add((killed, edition == number))
            followed = edition
            killer.stdin.write("\n")
            killer.stdin.flush()
        assert killer.wait() == 0, killer.communicate()[1]
        assert at > 30, "requests were not counted"
        assert outcomes == {(True, False), (True, True), (False, True)}
        # What the kills left is in nobody's way.
        assert load_published(config.root, "films").version == load_published(url).version
