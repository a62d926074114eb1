"""A whole run in which items that nobody has taken have neighbours by content."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pinsage import stages
from pinsage.config import Config
from pinsage.explain.evidence import load_evidence
from pinsage.explain.explanation import explain
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.local import embed_trained
from pinsage.model.io import load_model
from pinsage.newcomers import embed_file
from pinsage.retrieval.published import Published, load_published
from pinsage.store import Artifact, Store

MakeConfig = Callable[..., Config]
HEADER = "item_id,title,group,year,tags\n"
COLD = "cold1,Harbour tale 90,harbour,2021,harbour|t1\ncold2,Mountain tale 91,mountain,,t2\n"
NEW = (
    "new1,Harbour tale 92,harbour,2022,harbour|never\n"
    "new2,Of words unheard,valley,1900,\n"
    "new3,Mountain tale 93,,2021,mountain|t4\n"
)
COLD_ROW = 40


def config_in(folder: Path, make: MakeConfig, more: str, by_content: int = 3) -> Config:
    """The small configuration with more items, that nobody has taken."""
    config = make(folder, neighbourhoods={"by_content": by_content, "walks": 20, "size": 5})
    with (folder / "data" / "items.csv").open("a") as handle:
        handle.write(more)
    return config


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory,
    make_tiny_config: MakeConfig,
    run_stages: Callable[[Config], SimpleNamespace],
) -> SimpleNamespace:
    config = config_in(tmp_path_factory.mktemp("stand-ins"), make_tiny_config, COLD)
    finished = run_stages(config)
    finished.config = config
    return finished


@pytest.fixture
def version(run: SimpleNamespace) -> Published:
    return load_published(run.config.root, "tiny")


@pytest.fixture
def new_items(tmp_path: Path) -> Path:
    file = tmp_path / "new.csv"
    file.write_text(HEADER + NEW)
    return file


def catalog_embedded_anew(
    run: SimpleNamespace, folder: Path, make: MakeConfig, more: str
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """The run's model over a catalog with more items, from the raw data on."""
    config = config_in(folder, make, COLD + more)
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    built = stages.graph(config, store, ingested, ingested)
    table = stages.neighbourhoods(config, store, built, ingested)
    return embed_trained(config, ingested.path, built.path, table.path, run.train.path)


def test_a_new_item_is_embedded_as_the_catalog_embedded_anew_with_it(
    run: SimpleNamespace,
    version: Published,
    new_items: Path,
    tmp_path: Path,
    make_tiny_config: MakeConfig,
) -> None:
    whole = catalog_embedded_anew(run, tmp_path, make_tiny_config, NEW)
    found = embed_file(run.config.root, version, new_items)
    assert (found.num_users, found.notes) == ((0, 0, 0), ())
    np.testing.assert_allclose(found.vectors, whole[COLD_ROW + 2 :], atol=1e-6)
    np.testing.assert_allclose(version.vectors, whole[: COLD_ROW + 2], atol=1e-6)
    alone = tmp_path / "alone.csv"
    for at, line in enumerate(NEW.splitlines()):
        alone.write_text(HEADER + line)
        one = embed_file(run.config.root, version, alone)
        np.testing.assert_allclose(one.vectors[0], found.vectors[at], atol=1e-6)


def test_a_new_item_with_users_walks_and_one_without_has_stand_ins(
    run: SimpleNamespace, version: Published, new_items: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed.csv"
    users = ["u0|u2|u4", "", ""]
    lines = [f"{line},{of}" for line, of in zip(NEW.splitlines(), users, strict=True)]
    mixed.write_text("\n".join([HEADER.strip() + ",user_ids", *lines]))
    found = embed_file(run.config.root, version, mixed)
    without = embed_file(run.config.root, version, new_items)
    assert found.num_users == (3, 0, 0)
    np.testing.assert_allclose(found.vectors[1:], without.vectors[1:], atol=1e-6)
    assert np.abs(found.vectors[0] - without.vectors[0]).max() > 1e-3


def test_where_the_sources_are_gone_content_alone_answers_and_says_so(
    run: SimpleNamespace, new_items: Path, tmp_path: Path
) -> None:
    shutil.copytree(run.config.root / "published", tmp_path / "bare" / "published")
    version = load_published(tmp_path / "bare", "tiny")
    found = embed_file(tmp_path / "bare", version, new_items)
    [note] = found.notes
    assert note.startswith("no new item has neighbours by content as the catalog's own have: ")
    assert "it was removed" in note
    model = load_model(version.path / "model")
    whole = embed_file(run.config.root, load_published(run.config.root, "tiny"), new_items)
    assert np.abs(found.vectors - whole.vectors).max() > 1e-3
    assert found.vectors.shape == (3, model.config.output)


def test_an_item_of_the_catalog_rests_on_its_stand_ins(run: SimpleNamespace) -> None:
    table = Neighbourhoods.open(run.full_table.path)
    graph = BipartiteGraph.open(run.full_graph.path)
    assert run.full_table.facts["num_by_content"] == 2
    neighbors = table.neighbors[COLD_ROW]
    assert set(neighbors[:3].tolist()) <= set(range(20))  # harbour, as it is
    assert (graph.item_degree[neighbors[:3]] > 0).all()
    assert table.degree is not None
    assert table.degree[COLD_ROW] > 1
    assert table.shown_degree(graph)[:COLD_ROW].tolist() == graph.item_degree[:COLD_ROW].tolist()
    model = load_model(run.train.path / "model")
    assert not model.encoder.known[COLD_ROW]  # lent contexts are no contexts of its own


def test_an_explanation_does_not_take_stand_ins_for_walks(
    run: SimpleNamespace, version: Published
) -> None:
    evidence = load_evidence(run.config.root, version)
    nearest = int(evidence.table.neighbors[COLD_ROW, 0])
    found = explain(evidence, COLD_ROW, nearest)
    assert found.walks.forward.by_content
    assert not found.walks.backward.by_content
    assert (found.walks.forward.place, found.walks.forward.visits) == (1, 0)
    assert "has no user yet; likeness by content makes it the 1st neighbour" in found.summary
    assert "random walks" not in found.summary
    apart = explain(evidence, COLD_ROW, COLD_ROW + 1)
    assert "random walks" not in apart.summary


def losses(trained: Artifact) -> list[float]:
    return [each["loss"] for each in json.loads(trained.file("history.json").read_text())]


def test_training_takes_the_same_steps_with_and_without(
    run: SimpleNamespace, tmp_path: Path, make_tiny_config: MakeConfig
) -> None:
    config = config_in(tmp_path, make_tiny_config, COLD, by_content=0)
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    parts = stages.split(config, store, ingested)
    built = stages.graph(config, store, parts, parts)
    table = stages.neighbourhoods(config, store, built, parts)
    trained = stages.train(config, store, parts, built, table)
    assert losses(trained) == losses(run.train)
    if trained.facts["best_epoch"] == run.train.facts["best_epoch"]:
        ours, theirs = (load_model(each.path / "model") for each in (trained, run.train))
        for name, weight in ours.state_dict().items():
            assert torch.equal(weight, theirs.state_dict()[name]), name


class TestKey:
    """Whether the stage is run again."""

    @pytest.fixture
    def table_of(self, tmp_path: Path, tiny_run: SimpleNamespace) -> Callable[..., Artifact]:
        """The stage over the session's graph, with a catalog and settings."""

        def build(catalog: Artifact, **changes: int) -> Artifact:
            walks = tiny_run.config.neighbourhoods.model_copy(update=changes)
            config = tiny_run.config.model_copy(update={"neighbourhoods": walks})
            return stages.neighbourhoods(config, Store(tmp_path), tiny_run.full_graph, catalog)

        return build

    @pytest.fixture
    def other_catalog(
        self, tmp_path: Path, tiny_run: SimpleNamespace, make_tiny_config: MakeConfig
    ) -> Artifact:
        """The same items with another title."""
        config = make_tiny_config(tmp_path / "other")
        file = tmp_path / "other" / "data" / "items.csv"
        file.write_text(file.read_text().replace("Harbour tale 3,", "Harbour of old,"))
        store = Store(config.root)
        catalog = stages.ingest(config, store, stages.snapshot(config, store))
        assert catalog.digest("items.parquet") != tiny_run.ingest.digest("items.parquet")
        return catalog

    def test_without_stand_ins_it_does_not_depend_on_the_catalog(
        self,
        table_of: Callable[..., Artifact],
        other_catalog: Artifact,
        tiny_run: SimpleNamespace,
    ) -> None:
        first = table_of(tiny_run.ingest)
        assert table_of(other_catalog).reused
        assert set(first.manifest.inputs) == {"graph"}
        assert set(first.manifest.files) == {"neighbors.npy", "weights.npy"}
        assert first.digest() == tiny_run.full_table.digest()

    def test_with_them_it_does(
        self,
        table_of: Callable[..., Artifact],
        other_catalog: Artifact,
        tiny_run: SimpleNamespace,
    ) -> None:
        first = table_of(tiny_run.ingest, by_content=2)
        assert "degree.npy" in first.manifest.files
        assert table_of(tiny_run.ingest, by_content=2).reused
        assert not table_of(other_catalog, by_content=2).reused
        assert not table_of(tiny_run.ingest, by_content=2, by_content_contexts=3).reused

    def test_a_catalog_without_features_has_nothing_to_be_alike_by(
        self, tmp_path: Path, tiny_run: SimpleNamespace
    ) -> None:
        data = tiny_run.config.data.model_copy(update={"items": None})
        walks = tiny_run.config.neighbourhoods.model_copy(update={"by_content": 2})
        config = tiny_run.config.model_copy(update={"data": data, "neighbourhoods": walks})
        table = stages.neighbourhoods(config, Store(tmp_path), tiny_run.full_graph, tiny_run.ingest)
        assert set(table.manifest.files) == {"neighbors.npy", "weights.npy"}
        assert table.digest() == tiny_run.full_table.digest()
