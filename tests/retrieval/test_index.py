"""The index: exact search equals brute force, approximate search states its recall."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pinsage.config import IndexConfig
from pinsage.errors import ArtifactError
from pinsage.retrieval.index import FILE, choose_kind, open_index, write_index
from pinsage.store import Facts

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
    scores, rows = open_index(tmp_path / FILE).search(matrix, 20)
    expected = matrix.astype(np.float64) @ matrix.astype(np.float64).T
    best = -np.sort(-expected, axis=1)[:, :20]
    np.testing.assert_allclose(scores, best, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(expected, rows, axis=1), best, rtol=1e-5)


def test_approximate_search_states_the_recall_it_has(tmp_path: Path) -> None:
    matrix = clustered(3000, 30, 16)
    facts = build(tmp_path, matrix, IndexConfig(kind="hnsw"))
    assert facts["kind"] == "hnsw"
    assert 0.9 <= facts["recall_100"] <= 1.0
    _, rows = open_index(tmp_path / FILE).search(matrix[:200], 100)
    expected = np.argsort(-(matrix[:200] @ matrix.T), axis=1)[:, :100]
    shared = [len(set(a) & set(b)) / 100 for a, b in zip(rows, expected, strict=True)]
    assert np.mean(shared) == pytest.approx(facts["recall_100"], abs=0.05)


def test_search_width_is_kept_in_the_file(tmp_path: Path) -> None:
    build(tmp_path, clustered(50, 5, 4), IndexConfig(kind="hnsw", hnsw_search=77))
    assert open_index(tmp_path / FILE).hnsw.efSearch == 77


def test_few_items_have_the_recall_of_all(tmp_path: Path) -> None:
    facts = build(tmp_path, clustered(5, 1, 4), IndexConfig(kind="hnsw"))
    assert facts["recall_100"] == 1.0


def test_auto_is_exact_up_to_the_limit() -> None:
    settings = IndexConfig(exact_up_to=10)
    assert [choose_kind(settings, n) for n in (9, 10, 11)] == ["exact", "exact", "hnsw"]
    assert choose_kind(IndexConfig(kind="exact", exact_up_to=10), 11) == "exact"


def test_file_that_is_no_index_is_an_error(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no index")
    with pytest.raises(ArtifactError, match=r"index\.faiss: not a readable index"):
        open_index(tmp_path / FILE)


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
