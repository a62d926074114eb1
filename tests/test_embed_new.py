"""`pinsage embed-new`: new items through a published version, with and without its sources."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pinsage.cli import command_line
from pinsage.config import Config
from pinsage.errors import SourceError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, newcomers_neighbourhoods
from pinsage.inference.local import read_items
from pinsage.inference.newcomers import Catalog, embed_among, embed_by_content
from pinsage.model.io import load_model
from pinsage.newcomers import embed_file
from pinsage.retrieval.published import Published, load_published

HEADER = "item_id,title,group,year,tags"
HARBOUR = "n1,Harbour tale 41,harbour,2021,harbour|t1"
MOUNTAIN = "n2,Mountain tale 42,mountain,2022,mountain|t2"
PLAIN = f"{HEADER}\n{HARBOUR}\n{MOUNTAIN}"
USED = "\n".join([f"{HEADER},user_ids", f"{HARBOUR},u0|u2|u4|u2", f"{MOUNTAIN},"])
Ask = Callable[..., Result]


@pytest.fixture
def root(tiny_run: SimpleNamespace) -> Path:
    folder: Path = tiny_run.config.root
    return folder


@pytest.fixture
def version(root: Path) -> Published:
    return load_published(root, "tiny")


@pytest.fixture
def bare_root(root: Path, tmp_path: Path) -> Path:
    """What is left where all stages were cleaned away."""
    shutil.copytree(root / "published", tmp_path / "bare" / "published")
    return tmp_path / "bare"


@pytest.fixture
def ask(root: Path, tmp_path: Path) -> Ask:
    """`ask(text, …)` puts new items in a CSV file and asks about them."""

    def run(text: str, *arguments: object, root: Path = root, name: str = "new.csv") -> Result:
        (tmp_path / name).write_text(text + "\n")
        words = ["embed-new", tmp_path / name, "--root", root, *arguments]
        return CliRunner().invoke(command_line(), list(map(str, words)))

    return run


def refused(result: Result, *fragments: str) -> None:
    assert result.exit_code == 2, result.output
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    for fragment in ("error: ", *fragments):
        assert fragment in result.stderr


def vectors_of(file: Path) -> np.ndarray[Any, Any]:
    return np.array(pq.read_table(file)["vector"].to_pylist(), dtype=np.float32)


def test_shows_the_neighbours_of_each_new_item(ask: Ask) -> None:
    result = ask(PLAIN, "-k", 3)
    assert (result.exit_code, result.stderr) == (0, "")
    for part in ("Related to Harbour tale 41, by content (tiny, ", "Mountain tale 42, by content"):
        assert part in " ".join(result.stdout.split())


def test_content_needs_the_version_alone(
    ask: Ask, bare_root: Path, tmp_path: Path, version: Published
) -> None:
    out = tmp_path / "deep" / "new.parquet"
    result = ask(PLAIN, "-k", 2, "--json", "--out", out, root=bare_root)
    answer = json.loads(result.stdout)
    written = pq.read_table(out)
    assert written["item_id"].to_pylist() == ["n1", "n2"]
    assert (
        written.schema.field("vector").type
        == pq.read_table(version.path / "embeddings").schema.field("vector").type
    )
    assert answer["version"] == version.version
    for at, found in enumerate(answer["new_items"]):
        nearest = version.nearest(vectors_of(out)[at], 2)
        assert found["num_users"] == 0
        assert [each["item_id"] for each in found["related"]] == [each.item_id for each in nearest]
    assert [path.name for path in out.parent.iterdir()] == ["new.parquet"]


def test_users_give_what_the_library_computes(
    ask: Ask, tiny_run: SimpleNamespace, version: Published, tmp_path: Path
) -> None:
    out = tmp_path / "new.parquet"
    answer = json.loads(ask(USED, "--json", "--out", out).stdout)
    assert [each["num_users"] for each in answer["new_items"]] == [3, 0]
    model, items = load_model(version.path / "model"), read_items(tiny_run.ingest.path)
    graph = BipartiteGraph.open(tiny_run.full_graph.path)
    ids = pq.read_table(tiny_run.ingest.file("users.parquet"))["user_id"].to_pylist()
    users = [np.array([ids.index(user) for user in ("u0", "u2", "u4")], np.int32), np.array([])]
    walks, seed = tiny_run.config.neighbourhoods, tiny_run.config.seed
    near = newcomers_neighbourhoods(graph, users, walks, seed)
    new = items.iloc[[0, 20]].assign(
        title=["Harbour tale 41", "Mountain tale 42"],
        year=[2021.0, 2022.0],
        tags=["harbour|t1", "mountain|t2"],
    )
    catalog = Catalog(items, graph.item_degree, Neighbourhoods.open(tiny_run.full_table.path))
    expected = embed_among(model, new, np.array([3, 0]), near, catalog)
    np.testing.assert_allclose(vectors_of(out), expected, atol=1e-6)
    by_content = embed_by_content(model, new)
    assert np.abs(expected - by_content).max(axis=1).round(3).tolist()[0] > 0
    np.testing.assert_allclose(expected[1], by_content[1], atol=1e-6)


def test_says_what_it_rests_on(ask: Ask) -> None:
    shown = " ".join(ask(USED).stdout.split())
    assert "Harbour tale 41, by content and 3 users (tiny" in shown
    assert "Mountain tale 42, by content (tiny" in shown


def test_warns_of_what_is_missing_and_of_what_means_nothing(ask: Ask) -> None:
    result = ask("item_id,group,tags,yeer,user_ids\nn1,harbour,,2021,u1|nobody\nn2,,,,")
    assert result.exit_code == 0, result.output
    assert "warning: no column 'title', 'year': treated as missing" in result.stderr
    assert "warning: column 'yeer' passed over: known are item_id, title, user_ids" in result.stderr
    assert "warning: 1 of 2 users are not in the data of this version" in result.stderr
    assert "nobody" not in result.stderr
    assert "Related to n2, by content" in " ".join(result.stdout.split())


def test_a_named_version_answers(ask: Ask, version: Published) -> None:
    answer = json.loads(ask(PLAIN, "--version", version.version, "--json").stdout)
    assert answer["version"] == version.version
    refused(ask(PLAIN, "--version", "../.."), "has no version ../..; it has", version.version)


def test_refuses_an_item_of_the_catalog(ask: Ask) -> None:
    known = "i3,Harbour tale 3,harbour,1983,\ni4,,,,"
    refused(ask(f"{PLAIN}\n{known}"), "'item_id' holds 'i3' (and 1 more)", "`pinsage recommend`")


def test_refuses_users_where_the_sources_are_gone(ask: Ask, bare_root: Path) -> None:
    refused(ask(USED, root=bare_root), "no artifact", "leave out the column 'user_ids'")


def test_refuses_users_that_are_all_unknown(ask: Ask) -> None:
    result = ask(f"{HEADER},user_ids\n{HARBOUR},u0 u2")
    refused(result, "none of its 1 ids is a user", "separated by '|'")


def test_refuses_items_of_which_nothing_is_known(ask: Ask) -> None:
    refused(ask("item_id,colour\nn1,red"), "none of the model's features", "'group'")


def test_a_model_without_features_goes_by_users_alone(
    tmp_path: Path, make_tiny_config: Callable[..., Config], run_stages: Callable[[Config], Any]
) -> None:
    config = make_tiny_config(tmp_path)
    assert config.data.items is not None
    path = config.data.items.path
    config = make_tiny_config(tmp_path, data={"items": {"path": path}}, training={"epochs": 1})
    run_stages(config)
    version = load_published(config.root, "tiny")
    (tmp_path / "new.csv").write_text("item_id,user_ids\nn1,u0|u2|u4\nn2,u1|u3\nn3,\n")
    found = embed_file(config.root, version, tmp_path / "new.csv")
    assert found.num_users == (3, 2, 0)
    assert np.linalg.norm(found.vectors[0] - found.vectors[1]) > 1e-3
    assert len(found.notes) == 1
    assert found.notes[0].startswith("1 of 3 new items have no feature and no known user")
    (tmp_path / "new.csv").write_text("item_id,title\nn1,A title\n")
    with pytest.raises(SourceError, match=r"has no features, .*add .* column 'user_ids'"):
        embed_file(config.root, version, tmp_path / "new.csv")


def test_refuses_what_cannot_be_written(ask: Ask, tmp_path: Path) -> None:
    refused(ask(PLAIN, "--out", tmp_path / "new.csv"), "ends in .parquet")
    (tmp_path / "file").write_text("")
    refused(ask(PLAIN, "--out", tmp_path / "file" / "new.parquet"), "cannot be made")
    assert not list(tmp_path.glob(".staging*"))


def test_a_hostile_title_is_drawn_as_text(ask: Ask) -> None:
    row = json.dumps({"item_id": "n1", "title": "[red]x[/red]\x1b[2J\r\n", "year": 2020})
    result = ask(row, name="new.jsonl")
    assert "[red]x[/red]" in result.stdout
    assert not set("\x1b\r") & set(result.stdout)
