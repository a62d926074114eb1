"""Row 28: publish is killed at any moment; readers see the old or the new version, never a mix."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pinsage.config import Config, parse_config
from pinsage.retrieval.publish import publish
from pinsage.retrieval.published import load_published
from pinsage.retrieval.versions import list_versions
from pinsage.store import Artifact, Facts, Store, Workspace, open_artifact
from tests.faults.publishers import EDITIONS

if TYPE_CHECKING:
    from tests.faults.conftest import Start

NUM_EDITIONS = 4  # more than are kept, so that each publication also prunes
KEEP = 2
NUM_ROUNDS = 12

# One process imports everything once; each of its children publishes one edition after the other,
# and is killed at a random moment after its first.
KILLER = (
    EDITIONS
    + """
import random, time
chance = random.Random(28)
for round in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        for number in range(round + 1, 1000):
            publish(config, **editions[number % len(editions)])
            (config.root / "begun").touch()
    while not (config.root / "begun").exists():
        time.sleep(0.001)
    time.sleep(chance.uniform(0.0, 0.15))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    (config.root / "begun").unlink(missing_ok=True)
    print(os.WTERMSIG(status), len(list(config.root.glob("published/*/.staging-*"))), flush=True)
"""
)


@pytest.fixture
def config(tiny_run: SimpleNamespace, tmp_path: Path) -> Config:
    tree = {**tiny_run.config.model_dump(mode="json"), "root": str(tmp_path)}
    return parse_config({**tree, "publish": {"keep": KEEP}})


@pytest.fixture
def editions(tiny_run: SimpleNamespace, config: Config) -> list[dict[str, Any]]:
    """What `publish` takes, with embeddings that hold nothing but the edition's number."""
    store = Store(config.root)

    def embedded(number: int) -> Artifact:
        def build(work: Workspace) -> Facts:
            rows = (tiny_run.embed.facts["num_items"], tiny_run.embed.facts["dimension"])
            np.save(work.path / "embeddings.npy", np.full(rows, number, dtype=np.float32))
            return {"num_items": rows[0], "dimension": rows[1], "edition": number}

        return store.stage(
            "embed", build, settings={"edition": number}, inputs={}, code=("pinsage.errors",)
        )

    return [
        {
            "ingested": tiny_run.ingest, "built": tiny_run.full_graph, "trained": tiny_run.train,
            "evaluated": tiny_run.evaluate, "embedded": embedded(number),
            "indexed": tiny_run.index,
            "reported": tiny_run.report,
        }
        for number in range(NUM_EDITIONS)
    ]  # fmt: skip


def edition_seen(config: Config) -> int:
    """Opens the current version as a consumer does; raises where it is not whole and of a piece."""
    found = load_published(config.root, config.name)
    number = int(found.vectors[0, 0])
    assert (found.vectors == number).all()
    key = found.manifest.facts["artifacts"]["embeddings"]
    embedded = open_artifact(config.root / "stages" / "embed" / key)
    assert embedded.facts["edition"] == number
    return number


def test_readers_see_one_whole_version_at_every_moment(
    config: Config, editions: list[dict[str, Any]], start: Start
) -> None:
    publish(config, **editions[0])
    paths = [{name: str(a.path) for name, a in edition.items()} for edition in editions]
    settings = json.dumps(config.model_dump(mode="json"))
    killer = start(KILLER, settings, json.dumps(paths), NUM_ROUNDS)
    seen = []
    while killer.poll() is None:
        seen.append(edition_seen(config))
    out, err = killer.communicate()
    rounds = [tuple(map(int, line.split())) for line in out.splitlines()]
    assert [signal for signal, _ in rounds] == [9] * NUM_ROUNDS, err
    assert all(parts <= 1 for _, parts in rounds)  # what a kill left is swept by the next
    assert len(set(seen)) > 1, "nothing was published while it was read"
    assert any(parts for _, parts in rounds), "no kill fell into the writing of a version"
    for number in (1, 2):
        version = publish(config, **editions[number])
        assert edition_seen(config) == number
    infos = list_versions(config.root, config.name)
    assert [info.current for info in infos].count(True) == 1
    assert len(infos) == KEEP
    assert version.name in {info.version for info in infos}
    left = {path.name for path in version.path.parent.iterdir()}
    state = {"CURRENT", ".lock", "fence.json", "history.jsonl"}
    assert left == {*state, *(info.version for info in infos)}
