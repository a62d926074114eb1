"""Alignment and stability: a planted rotation is found, neighbours are compared as by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from pinsage.config import Config, changed, parse_config
from pinsage.inference.newcomers import embed_by_content
from pinsage.model.io import load_model, save_model
from pinsage.model.query import QueryMap
from pinsage.retrieval.align import (
    NEIGHBOURS,
    Side,
    aligned_cosines,
    find_rotation,
    neighbour_overlap,
    rotate,
    shared_rows,
    stability,
    why_not,
)
from pinsage.retrieval.aligning import FILE
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import Version, publish
from pinsage.retrieval.published import open_version
from pinsage.store import Artifact, Facts, Store, Workspace
from tests.retrieval.conftest import unit_rows

Matrix = npt.NDArray[np.float32]


def orthogonal(width: int, seed: int = 0) -> npt.NDArray[np.float64]:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))
    return np.asarray(q)


def everything(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return np.arange(count), np.arange(count)


@pytest.mark.parametrize("width", [2, 7, 64])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_planted_rotation_is_recovered(width: int, mirrored: bool) -> None:
    planted = orthogonal(width)
    if mirrored:
        planted[:, 0] *= -1
    new = unit_rows(500, width, seed=1)
    old = (new @ planted).astype(np.float32)
    found = find_rotation(new, old, everything(500))
    np.testing.assert_allclose(found, planted, atol=1e-6)
    np.testing.assert_allclose(found @ found.T, np.eye(width), atol=1e-12)
    np.testing.assert_allclose(aligned_cosines(new, old, everything(500), found), 1, atol=1e-6)


def test_no_other_rotation_brings_noisy_vectors_nearer() -> None:
    rng = np.random.default_rng(2)
    new, old = unit_rows(200, 5, seed=1), unit_rows(200, 5, seed=2)
    found = find_rotation(new, old, everything(200))
    least = np.linalg.norm(new @ found - old)
    for _ in range(200):
        other, _ = np.linalg.qr(found + rng.normal(scale=rng.uniform(0, 1), size=(5, 5)))
        assert np.linalg.norm(new @ other - old) >= least - 1e-9


def test_only_shared_items_count_wherever_their_rows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinsage.retrieval.align._BLOCK", 7)  # several blocks
    planted, new = orthogonal(4), unit_rows(40, 4, seed=3)
    order = np.random.default_rng(4).permutation(40)[:30]
    old = np.concatenate([unit_rows(9, 4, seed=5), (new @ planted).astype(np.float32)[order]])
    ids = [f"gone{n}" for n in range(9)] + [f"i{row}" for row in order]
    rows = shared_rows([f"i{row}" for row in range(40)], ids)
    assert sorted(rows[0].tolist()) == sorted(order.tolist())
    assert all(ids[old_at] == f"i{new_at}" for new_at, old_at in zip(*rows, strict=True))
    np.testing.assert_allclose(find_rotation(new, old, rows), planted, atol=1e-6)


def test_rotating_changes_no_inner_product() -> None:
    vectors, out = unit_rows(30, 6), np.empty((30, 6), dtype=np.float32)
    rotate(vectors, orthogonal(6), out)
    np.testing.assert_allclose(out @ out.T, vectors @ vectors.T, atol=1e-6)


def test_overlap_is_what_sorting_every_score_gives() -> None:
    rng = np.random.default_rng(6)
    maps = [QueryMap(rng.normal(size=(d, d)).astype(np.float32), True) for d in (5, 3)]
    vectors = [unit_rows(90, 5, seed=7), unit_rows(120, 3, seed=8)]
    rows = shared_rows(list(range(90)), list(range(50, 170)))  # of two dimensions
    sample = rng.permutation(len(rows[0]))[:15]
    expected = []
    for place in sample:
        lists = []
        for query, matrix, at in zip(maps, vectors, rows, strict=True):
            scores = {
                int(other): float(query(matrix[at[place]]) @ matrix[at[other]])
                for other in range(len(at))
                if other != place
            }
            lists.append(sorted(scores, key=lambda each: -scores[each])[:NEIGHBOURS])
        expected.append(len(set(lists[0]) & set(lists[1])) / NEIGHBOURS)
    sides = [Side(matrix, query) for matrix, query in zip(vectors, maps, strict=True)]
    assert neighbour_overlap(sides[0], sides[1], rows, sample) == pytest.approx(np.mean(expected))
    assert 0 < np.mean(expected) < 1


def test_what_cannot_be_aligned_is_said() -> None:
    four, three = unit_rows(20, 4), unit_rows(20, 3)
    assert why_not(four, three, 20) == "the dimension was 3 and is 4"
    assert why_not(four, four, 3) == "3 items are shared, fewer than the 4 dimensions"
    assert why_not(four, four, 4) == ""


def test_stability_of_the_same_vectors_is_one() -> None:
    side = Side(unit_rows(50, 4), QueryMap())
    same = stability(side, side, everything(50), np.eye(4), seed=0).facts()
    assert same == {"num_shared": 50, "overlap_10": 1.0, "cosine_mean": 1.0, "cosine_q05": 1.0}
    few = stability(side, side, everything(11), None, seed=0).facts()
    assert few == {"num_shared": 11}  # ten others of eleven are always the same ten


class TestPublishing:
    """A model, its vectors and new items, all turned by one planted rotation."""

    @pytest.fixture
    def config(self, tiny_run: SimpleNamespace, tmp_path: Path) -> Config:
        tree = tiny_run.config.model_dump(mode="json")
        return parse_config({**tree, "root": str(tmp_path), "name": "turned"})

    @staticmethod
    def published(
        config: Config, run: SimpleNamespace, mode: str, model: Any, vectors: Matrix
    ) -> Version:
        config, store = changed(config, {"publish.align": mode}), Store(config.root)

        def stage(name: str, build: Any) -> Artifact:
            about = {"vectors": vectors.tolist(), "mapped": model.query_map is not None}
            return store.stage(name, build, settings=about, inputs={}, code=("pinsage.errors",))

        def embed(work: Workspace) -> Facts:
            np.save(work.path / "embeddings.npy", vectors)
            return {"num_items": len(vectors), "dimension": vectors.shape[1]}

        def train(work: Workspace) -> Facts:
            save_model(model, work.path / "model")
            return {}

        embedded = stage("embed", embed)
        file = embedded.file("embeddings.npy")
        return publish(
            config, ingested=run.ingest, built=run.full_graph, trained=stage("train", train),
            evaluated=run.evaluate, embedded=embedded, reported=run.report,
            indexed=stage("index", lambda work: write_index(file, config.index, 0, work.path)),
        )  # fmt: skip

    @pytest.mark.parametrize("mapped", [False, True])
    @pytest.mark.parametrize("mode", ["off", "beside", "applied"])
    def test_what_is_turned_is_turned_everywhere(
        self, config: Config, tiny_run: SimpleNamespace, mode: str, mapped: bool
    ) -> None:
        raw = np.load(tiny_run.embed.file("embeddings.npy"))
        planted = orthogonal(raw.shape[1])
        model = load_model(tiny_run.train.path / "model")
        if mapped:
            model.query_map = model.query_map or torch.nn.Linear(8, 8, bias=False)
            model.config = model.config.model_copy(update={"query_map": True})
        else:
            model.query_map = None
            model.config = model.config.model_copy(update={"query_map": False})
        other = np.ascontiguousarray((raw @ planted).astype(np.float32))
        first = self.published(config, tiny_run, mode, model, other)
        second = open_version(self.published(config, tiny_run, mode, model, raw).path)

        facts = second.manifest.facts
        assert facts["stability"]["against"] == first.name
        assert facts["stability"]["cosine_mean"] == pytest.approx(1, abs=1e-6)
        assert (second.path / FILE).exists() == (mode != "off")
        if mode != "off":
            np.testing.assert_allclose(np.load(second.path / FILE), planted, atol=1e-6)
        expected = other if mode == "applied" else raw
        np.testing.assert_allclose(second.vectors, expected, atol=1e-6)

        new = pd.DataFrame(
            {"title": ["Harbour tale 7"], "group": ["harbour"], "year": [1987], "tags": ["t2"]}
        )
        before = embed_by_content(model, new)
        after = embed_by_content(load_model(second.path / "model"), new)
        turned = before @ planted if mode == "applied" else before
        np.testing.assert_allclose(after, turned, atol=1e-6)

        scores = model.as_query_map()(np.concatenate([raw[:5], before])) @ raw.T
        for row, vector in enumerate(np.concatenate([second.vectors[:5], after])):
            found = second.nearest(np.ascontiguousarray(vector), 5)
            best = np.sort(scores[row])[::-1][:5]
            np.testing.assert_allclose([each.score for each in found], best, atol=1e-5)

    def test_the_first_version_and_another_dimension_say_why_not(
        self, config: Config, tiny_run: SimpleNamespace
    ) -> None:
        model = load_model(tiny_run.train.path / "model")
        raw = np.load(tiny_run.embed.file("embeddings.npy"))
        first = open_version(self.published(config, tiny_run, "applied", model, raw).path)
        assert first.manifest.facts["alignment"]["why_not"] == "nothing to align with"
        assert "stability" not in first.manifest.facts
        model.query_map = None
        model.config = model.config.model_copy(update={"query_map": False})
        narrow = np.ascontiguousarray(raw[:, :5])
        second = open_version(self.published(config, tiny_run, "applied", model, narrow).path)
        facts = second.manifest.facts
        assert facts["alignment"]["why_not"] == "the dimension was 8 and is 5"
        assert set(facts["stability"]) == {"against", "num_shared", "overlap_10"}
        assert second.vectors.tobytes() == narrow.tobytes()
