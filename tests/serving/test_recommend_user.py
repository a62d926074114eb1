"""`pinsage recommend-user`: from a user's id to items, by the vectors that the stage made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from pinsage import stages
from pinsage.cli import command_line
from pinsage.config import ContextsConfig, changed, parse_config
from pinsage.retrieval.publish import publish
from pinsage.retrieval.published import load_published
from pinsage.store import Facts, Store, Workspace


def pinsage(*arguments: object) -> Result:
    return CliRunner().invoke(command_line(), [str(each) for each in arguments])


@pytest.fixture(scope="module")
def root(tiny_run: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("users") / "var"
    shutil.copytree(tiny_run.config.root, folder)
    shutil.rmtree(folder / "stages" / "contexts", ignore_errors=True)
    config = parse_config({**tiny_run.config.model_dump(mode="json"), "root": str(folder)})
    stages.contexts(config, Store(folder), tiny_run.ingest, tiny_run.embed)
    return folder


def newest_of(run: SimpleNamespace, user: str, count: int) -> list[int]:
    users = pq.read_table(run.ingest.file("users.parquet"))["user_id"].to_pylist()
    table = pq.read_table(run.ingest.file("interactions.parquet")).to_pandas()
    return [int(row) for row in table.item_row[table.user_row == users.index(user)]][-count:]


def test_shows_what_the_mean_of_the_newest_items_is_nearest_to(
    root: Path, tiny_run: SimpleNamespace
) -> None:
    version = load_published(root, "tiny")
    mean = version.vectors[newest_of(tiny_run, "u4", ContextsConfig().newest)].mean(axis=0)
    expected = version.nearest(mean, 5)
    result = pinsage("recommend-user", "u4", "--root", root, "-k", 5, "--json")
    answer = json.loads(result.stdout)
    assert (answer["name"], answer["version"], answer["user_id"]) == (
        "tiny", version.version, "u4",
    )  # fmt: skip
    scores = [each["score"] for each in answer["items"]]
    np.testing.assert_allclose(scores, [each.score for each in expected], rtol=1e-5)
    assert {each["title"].split()[0] for each in answer["items"]} == {"Harbour"}
    assert "For user u4" in pinsage("recommend-user", "u4", "--root", root).stdout


@pytest.mark.parametrize("kept_in", ["stage", "version"])
def test_a_version_that_was_turned_is_searched_with_turned_vectors(
    tiny_run: SimpleNamespace, tmp_path: Path, kept_in: str
) -> None:
    tree = {**tiny_run.config.model_dump(mode="json"), "root": str(tmp_path), "name": "turned"}
    config, store = changed(parse_config(tree), {"publish.align": "applied"}), Store(tmp_path)
    pooled = stages.contexts(config, store, tiny_run.ingest, tiny_run.embed)
    raw = np.load(tiny_run.embed.file("embeddings.npy"))
    mirrored = np.ascontiguousarray(raw[:, ::-1])  # what the night before had found

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", mirrored)
        return dict(tiny_run.embed.facts)

    earlier = store.stage("embed", embed, settings={}, inputs={}, code=("pinsage.errors",))
    sources = {
        "ingested": tiny_run.ingest, "built": tiny_run.full_graph, "trained": tiny_run.train,
        "evaluated": tiny_run.evaluate, "reported": tiny_run.report, "indexed": tiny_run.index,
    }  # fmt: skip
    publish(config, **sources, embedded=earlier)
    own = pooled if kept_in == "version" else None
    publish(config, **sources, embedded=tiny_run.embed, contexts=own)

    version = load_published(tmp_path, "turned")
    np.testing.assert_allclose(version.vectors, mirrored, atol=1e-5)
    mean = version.vectors[newest_of(tiny_run, "u4", ContextsConfig().newest)].mean(axis=0)
    answer = json.loads(pinsage("recommend-user", "u4", "--root", tmp_path, "--json").stdout)
    scores = [each["score"] for each in answer["items"]]
    np.testing.assert_allclose(scores, [n.score for n in version.nearest(mean, 10)], atol=1e-5)


def test_more_than_there_are_is_all_of_them(root: Path) -> None:
    result = pinsage("recommend-user", "u4", "--root", root, "-k", 10**15, "--json")
    assert len(json.loads(result.stdout)["items"]) == len(load_published(root, "tiny").items)


def test_new_leaves_out_everything_that_the_user_took(
    root: Path, tiny_run: SimpleNamespace
) -> None:
    taken = {f"i{row}" for row in newest_of(tiny_run, "u4", 10_000)}
    items = pq.read_table(tiny_run.ingest.file("items.parquet"))["item_id"].to_pylist()
    assert items[:3] == ["i0", "i1", "i2"], "rows are numbers of items here"
    result = pinsage("recommend-user", "u4", "--root", root, "--new", "-k", 100, "--json")
    found = {each["item_id"] for each in json.loads(result.stdout)["items"]}
    assert found == set(items) - taken


def test_an_unknown_user_is_one_message(root: Path) -> None:
    result = pinsage("recommend-user", "nobody", "--root", root)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: user 'nobody': has no vector in ")


def test_without_vectors_it_says_how_to_make_them(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "published", tmp_path / "published")
    result = pinsage("recommend-user", "u4", "--root", tmp_path)
    assert result.exit_code == 2
    assert "has no vectors of users for version" in result.stderr
    assert "contexts.pool other than 'none'" in result.stderr
