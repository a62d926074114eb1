"""The gate over the embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from data_contracts.gate import enforce, validate_embeddings
from data_contracts.matrix import read_embeddings
from pinsage.config import Config
from pinsage.errors import ArtifactError, ContractError
from pinsage.store import Artifact, Facts, Store, Workspace

NUM_ITEMS, WIDTH = 300, 16
Matrix = npt.NDArray[np.float32]
Check = Callable[[Matrix], Artifact]


def unit_rows(seed: int = 0) -> Matrix:
    matrix = np.random.default_rng(seed).standard_normal((NUM_ITEMS, WIDTH))
    return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)


@pytest.fixture(scope="module")
def ingested(land: Callable[..., Artifact]) -> Artifact:
    items = {
        "item_id": pa.array([f"i{row}" for row in range(NUM_ITEMS)]),
        "title": pa.array([f"Title {row}" for row in range(NUM_ITEMS)]),
    }
    return land("ingest", {"num_items": NUM_ITEMS}, items=items)


@pytest.fixture
def check(store: Store, config: Config, ingested: Artifact) -> Check:
    def run(matrix: Matrix) -> Artifact:
        def build(work: Workspace) -> Facts:
            np.save(work.path / "embeddings.npy", matrix)
            return {}

        settings = {"content": matrix.tobytes().hex()}
        embedded = store.stage("embed", build, settings=settings, inputs={}, code=("pinsage",))
        return validate_embeddings(config, store, embedded, ingested)

    return run


def breaches(checked: Artifact) -> dict[str, dict[str, Any]]:
    return {breach["column"]: breach for breach in checked.facts["breaches"]}


def test_isotropic_unit_rows_pass(check: Check) -> None:
    checked = check(unit_rows())
    enforce(checked)
    assert checked.facts["num_expectations"] == 6
    assert check(unit_rows()).reused


def test_values_that_are_not_finite_and_wrong_lengths_are_told_apart(check: Check) -> None:
    matrix = unit_rows()
    matrix[7, 3] = np.nan
    matrix[8, :2] = np.inf
    matrix[9] *= 2
    checked = check(matrix)
    found = breaches(checked)
    assert [*found] == ["embedding"]
    finite, norm = checked.facts["breaches"]
    assert [row["item_id"] for row in finite["rows"]] == ["i7", "i8"]
    assert [row["not finite"] for row in finite["rows"]] == ["1", "2"]
    assert (finite["count"], norm["count"]) == (2, 1)
    assert norm["rows"][0]["title"] == "Title 9"
    with pytest.raises(ContractError, match=r"embeddings\.embedding: expect_column_values"):
        enforce(checked)


def test_a_point_has_collapsed(check: Check) -> None:
    matrix = np.tile(unit_rows()[:1], (NUM_ITEMS, 1))
    found = breaches(check(matrix))
    assert [*found] == ["mean cosine", "spread"]
    assert found["mean cosine"]["found"] == "1"
    with pytest.raises(ContractError, match="collapsed"):
        enforce(check(matrix))


def test_a_narrow_cone_has_collapsed(check: Check) -> None:
    cone = unit_rows()[:1] + 0.01 * unit_rows(1)
    cone /= np.linalg.norm(cone, axis=1, keepdims=True)
    assert "mean cosine" in breaches(check(cone))


def test_a_matrix_of_another_shape_is_named(check: Check) -> None:
    found = breaches(check(unit_rows()[:-1, :8]))
    assert (found["rows"]["found"], found["dimension"]["found"]) == ("299", "8")
    assert found["rows"]["expected"] == "one row for each of 300 items"


def test_no_rows_is_a_breach(check: Check) -> None:
    assert "rows" in breaches(check(unit_rows()[:0]))


def test_the_facts_of_the_matrix_match_their_definition(tmp_path: Any, ingested: Artifact) -> None:
    matrix = 3.0 * unit_rows() + 0.5
    np.save(tmp_path / "m.npy", matrix)
    _, whole = read_embeddings(tmp_path / "m.npy", ingested.file("items.parquet"), seed=1)
    facts = whole.frame.iloc[0]
    deviation = np.mean([matrix[:, column].std() for column in range(WIDTH)])
    length = np.sqrt(np.mean([row @ row for row in matrix.astype(np.float64)]))
    assert facts["spread"] == pytest.approx(deviation * np.sqrt(WIDTH) / length, rel=1e-6)
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[~np.eye(NUM_ITEMS, dtype=bool)]
    error = float(cosines.std()) / 2000**0.5
    assert facts["mean cosine"] == pytest.approx(float(cosines.mean()), abs=5 * error)


def test_a_file_that_is_no_matrix_is_refused(tmp_path: Any, ingested: Artifact) -> None:
    path = tmp_path / "m.npy"
    path.write_bytes(b"not numpy")
    with pytest.raises(ArtifactError, match="not a matrix"):
        read_embeddings(path, ingested.file("items.parquet"), seed=1)
    np.save(path, np.zeros(3))
    with pytest.raises(ArtifactError, match="1 axes"):
        read_embeddings(path, ingested.file("items.parquet"), seed=1)
