"""The index: exact search equals brute force, approximate search states its recall."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from pinsage.config import IndexConfig, ModelConfig
from pinsage.errors import ArtifactError
from pinsage.retrieval.build import choose_kind
from pinsage.retrieval.exact import ExactSearch
from pinsage.retrieval.index import FILE, open_index, write_index
from pinsage.retrieval.recall import Trial
from pinsage.store import Facts
from tests.retrieval.clusters import brute_force

Matrix = npt.NDArray[np.float32]


def clustered(num_rows: int, num_clusters: int, width: int) -> Matrix:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(num_clusters, width))
    points = centres[rng.integers(num_clusters, size=num_rows)]
    points = points + 0.2 * rng.normal(size=points.shape)
    unit: Matrix = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return unit


def build(folder: Path, matrix: Matrix, settings: IndexConfig, seed: int = 0) -> Facts:
    np.save(folder / "embeddings.npy", matrix)
    return write_index(folder / "embeddings.npy", settings, seed, folder)


def test_exact_search_equals_brute_force(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).uniform(0.5, 2, (300, 1)).astype(np.float32)
    matrix = clustered(300, 10, 8) * lengths  # inner product is not cosine here
    facts = build(tmp_path, matrix, IndexConfig())
    assert facts == {"kind": "exact", "num_items": 300, "dimension": 8, "recall_100": 1.0}
    scores, rows = open_index(tmp_path).search(matrix, 20)
    expected = matrix.astype(np.float64) @ matrix.astype(np.float64).T
    best = -np.sort(-expected, axis=1)[:, :20]
    np.testing.assert_allclose(scores, best, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), best, rtol=1e-5)


def test_approximate_search_states_the_recall_it_has(tmp_path: Path) -> None:
    matrix = clustered(3000, 30, 16)
    facts = build(tmp_path, matrix, IndexConfig(kind="hnsw"))
    assert facts["kind"] == "hnsw"
    assert 0.9 <= facts["recall_100"] <= 1.0
    _, rows = open_index(tmp_path).search(matrix[:200], 100)
    expected = np.argsort(-(matrix[:200] @ matrix.T), axis=1)[:, :100]
    shared = [len(set(a) & set(b)) / 100 for a, b in zip(rows, expected, strict=True)]
    assert np.mean(shared) == pytest.approx(facts["recall_100"], abs=0.05)


def test_search_width_is_kept_in_the_file(tmp_path: Path) -> None:
    build(tmp_path, clustered(50, 5, 4), IndexConfig(kind="hnsw", hnsw_search=77))
    assert open_index(tmp_path).settings == {"hnsw_search": 77}


def test_few_items_have_the_recall_of_all(tmp_path: Path) -> None:
    facts = build(tmp_path, clustered(5, 1, 4), IndexConfig(kind="hnsw"))
    assert facts["recall_100"] == 1.0


def test_auto_is_exact_up_to_the_limit() -> None:
    settings = IndexConfig(exact_up_to=10)
    assert [choose_kind(settings, n) for n in (9, 10, 11)] == ["exact", "exact", "ivfpq"]
    assert choose_kind(IndexConfig(kind="exact", exact_up_to=10), 11) == "exact"


class TestQueryMap:
    """Recall is that of what searches: mapped items, where the model has a map."""

    def test_recall_is_measured_with_mapped_items(self, tmp_path: Path) -> None:
        matrix = clustered(6000, 30, 16)
        turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0].astype(np.float32)
        model = ModelConfig(output=16, query_map=True, normalize=False)
        (tmp_path / "model").mkdir()
        about = json.dumps({"model": model.model_dump(mode="json")})
        (tmp_path / "model" / "config.json").write_text(about)
        save_file({"query_map.weight": turn}, tmp_path / "model" / "weights.safetensors")
        np.save(tmp_path / "embeddings.npy", matrix)
        settings = IndexConfig(kind="ivfpq", recall=0.9)
        facts = write_index(tmp_path / "embeddings.npy", settings, 0, tmp_path, tmp_path / "model")
        index = open_index(tmp_path)
        queries = matrix[:2000] @ turn.T
        _, rows = index.search(queries, 100)
        expected = brute_force(matrix, queries, 100)
        measured = Trial(queries, expected).recall(rows)
        assert facts["recall_100"] == pytest.approx(measured, abs=0.02)
        unmapped = build(tmp_path, matrix, settings)  # tuned with what does not search
        assert unmapped["search"] != facts["search"]


def test_file_that_is_no_index_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no index")
    with pytest.raises(ArtifactError, match=r"index\.faiss: not a readable index"):
        open_index(tmp_path)


def test_without_faiss_the_message_says_what_to_install(tmp_path: Path) -> None:
    np.save(tmp_path / "embeddings.npy", clustered(5, 1, 4))
    code = """
import sys
from pathlib import Path
sys.modules["faiss"] = None  # what an import of a package that is not there comes to
from pinsage.config import IndexConfig
from pinsage.errors import MissingExtraError
from pinsage.retrieval.index import write_index
try:
    write_index(Path("embeddings.npy"), IndexConfig(), 0, Path())
except MissingExtraError as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "pip install 'pinsage-pipeline[index]'" in run.stdout


class TestExactSearch:
    """To the bit what float64 gives, whatever the product was made in."""

    @hypothesis_settings(max_examples=60, deadline=None)
    @given(data=st.data(), bfloat16=st.booleans(), threads=st.integers(1, 3))
    def test_equals_float64(self, data: st.DataObject, bfloat16: bool, threads: int) -> None:
        num_items, width = data.draw(st.integers(1, 1500)), data.draw(st.integers(1, 9))
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        matrix = rng.normal(size=(num_items, width)).astype(np.float32)
        matrix *= np.float32(10.0) ** data.draw(st.sampled_from([0, -20, 15]))
        distinct = data.draw(st.integers(1, num_items))
        matrix = matrix[rng.integers(distinct, size=num_items)]  # copies tie exactly
        queries = rng.normal(size=(data.draw(st.integers(1, 70)), width)).astype(np.float32)
        allowed = np.flatnonzero(rng.random(num_items) < data.draw(st.sampled_from([0.01, 0.5, 1])))
        k = data.draw(st.integers(1, 40))
        scores, rows = ExactSearch(matrix, bfloat16=bfloat16).search(
            queries, k, allowed=allowed, threads=threads
        )
        products = np.zeros((len(queries), len(allowed)))
        for column in range(width):  # in the order of the dimensions
            products += np.outer(
                queries[:, column].astype(np.float64), matrix[allowed, column].astype(np.float64)
            )
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        many = min(k, len(allowed))
        np.testing.assert_array_equal(rows[:, :many], allowed[order])
        best = np.take_along_axis(products, order, axis=1).astype(np.float32)
        np.testing.assert_array_equal(scores[:, :many], best)
        assert (rows[:, many:] == -1).all()

    @pytest.mark.parametrize("bfloat16", [False, True])
    def test_more_copies_than_can_be_held_are_told_apart_by_row(self, bfloat16: bool) -> None:
        matrix = np.repeat(clustered(2, 2, 8), 5000, axis=0)
        _, rows = ExactSearch(matrix, bfloat16=bfloat16).search(matrix[[7000, 10]], 30)
        np.testing.assert_array_equal(rows, [np.arange(5000, 5030), np.arange(30)])

    @pytest.mark.parametrize("bfloat16", [False, True])
    def test_the_largest_numbers_overflow_no_product(self, bfloat16: bool) -> None:
        most = np.finfo(np.float32).max
        matrix = np.array([[most, -most], [most, most], [1, 1], [-most, 1]], dtype=np.float32)
        _, rows = ExactSearch(matrix, bfloat16=bfloat16).search(matrix[[1]], 4)
        np.testing.assert_array_equal(rows, [[1, 2, 0, 3]])

    def test_better_and_better_items_are_all_seen(self) -> None:
        matrix = np.linspace(0, 1, 20_000, dtype=np.float32)[:, None]
        _, rows = ExactSearch(matrix).search(np.array([[1], [-1]], dtype=np.float32), 5)
        np.testing.assert_array_equal(rows, [19_999 - np.arange(5), np.arange(5)])
