"""A night after a night: what is kept of the last table, and that no byte differs for it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.store import MANIFEST, Artifact, Store, digest_of

if TYPE_CHECKING:
    from tests.conftest import MakeConfig

LATER = 1_704_067_200 + 100 * 86_400  # after all that the tiny data hold


def night(config: Config, **walks: Any) -> Artifact:
    """The table over everything up to now."""
    tree = config.model_dump(mode="json")
    changed = parse_config({**tree, "neighbourhoods": {**tree["neighbourhoods"], **walks}})
    store = Store(changed.root)
    ingested = stages.ingest(changed, store, stages.snapshot(changed, store))
    built = stages.graph(changed, store, ingested, ingested)
    return stages.neighbourhoods(changed, store, built, ingested)


def append(folder: Path, name: str, *rows: tuple[object, ...]) -> None:
    with (folder / "data" / name).open("a", newline="") as handle:
        csv.writer(handle).writerows(rows)


def a_new_shelf(folder: Path) -> None:
    """Three items more: two taken by a new user, who takes nothing else, and one by nobody."""
    kinds = ("Harbour tale", "harbour", 1999, "harbour|t1")
    append(folder, "items.csv", *((f"i{item}", *kinds) for item in (40, 41, 42)))
    append(folder, "interactions.csv", ("u60", "i40", LATER), ("u60", "i41", LATER + 60))


def counts(table: Artifact) -> tuple[int, int]:
    return table.facts["num_walked"], table.facts["num_kept"]


@pytest.fixture
def first(tmp_path: Path, make_tiny_config: MakeConfig) -> tuple[Config, Artifact]:
    config = make_tiny_config(tmp_path)
    return config, night(config)


@pytest.mark.parametrize("by_content", [0, 2])
def test_items_out_of_reach_are_kept_and_the_table_is_the_same(
    tmp_path: Path, make_tiny_config: MakeConfig, by_content: int
) -> None:
    config = make_tiny_config(tmp_path)
    before = night(config, by_content=by_content)
    a_new_shelf(tmp_path)
    after = night(config, by_content=by_content)
    shutil.rmtree(before.path)
    shutil.rmtree(after.path)
    anew = night(config, by_content=by_content)
    found = (counts(before), counts(after), counts(anew))
    assert found == ((40, 0), (3, 40), (43, 0))
    assert after.facts["kept_from"] == before.manifest.key
    assert after.manifest.key == anew.manifest.key
    assert after.digest() == anew.digest()


def test_what_the_night_touched_is_walked_again(
    tmp_path: Path, first: tuple[Config, Artifact]
) -> None:
    config, before = first
    append(tmp_path, "interactions.csv", ("u60", "i1", LATER), ("u60", "i2", LATER))
    after = night(config)
    assert counts(after) == (40, 0)  # one town: from everywhere three hops lead there
    assert after.facts["kept_from"] == before.manifest.key
    assert (after.facts["num_changed_items"], after.facts["num_changed_contexts"]) == (2, 0)


def test_other_settings_keep_nothing(tmp_path: Path, first: tuple[Config, Artifact]) -> None:
    config, _ = first
    a_new_shelf(tmp_path)
    for walks in ({"walks": 21}, {"size": 4}, {"length": 2}, {"restart": 0.4}, {"by_content": 1}):
        assert counts(night(config, **walks)) == (43, 0)
    assert counts(night(config.model_copy(update={"seed": 5}))) == (43, 0)


def test_the_device_is_no_part_of_the_key(first: tuple[Config, Artifact]) -> None:
    config, before = first
    assert night(config, device="auto").manifest.key == before.manifest.key


def test_the_nearest_graph_is_chosen(tmp_path: Path, first: tuple[Config, Artifact]) -> None:
    config, before = first
    append(tmp_path, "interactions.csv", *(("u60", f"i{item}", LATER) for item in range(30)))
    far = night(config)  # newer, with 30 edges more than the first
    lines = (tmp_path / "data" / "interactions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "data" / "interactions.csv").write_text("".join(lines[:-30]))
    a_new_shelf(tmp_path)
    after = night(config)
    assert far.facts["kept_from"] == after.facts["kept_from"] == before.manifest.key
    assert counts(after) == (3, 40)


@pytest.mark.parametrize("damage", ["table", "graph", "manifest", "no graph", "code"])
def test_a_night_that_is_damaged_or_of_other_code_is_left_alone(
    tmp_path: Path, first: tuple[Config, Artifact], damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, before = first
    graph = next((config.root / "stages" / "graph").iterdir())
    if damage == "table":
        (before.path / "weights.npy").write_bytes(b"\x00")
    elif damage == "graph":
        (graph / "item_indices.npy").unlink()
    elif damage == "manifest":
        (before.path / MANIFEST).write_text("{")
    elif damage == "no graph":
        shutil.rmtree(graph)
    else:
        altered = {**json.loads((before.path / MANIFEST).read_text()), "code": "other"}
        altered.pop("digest")
        whole = {**altered, "digest": digest_of(altered)}
        (before.path / MANIFEST).write_text(json.dumps(whole))
    a_new_shelf(tmp_path)
    after = night(config)
    assert counts(after) == (43, 0)
    assert after.facts["kept_from"] == ""
    is_told = damage in ("table", "graph", "manifest")
    assert ("no row of an earlier night" in caplog.text) == is_told
