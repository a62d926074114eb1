"""Feature columns: what each kind encodes to, what is refused, and that nothing is random.

Run as a script, it prints a digest of encoded values and of a model's outputs.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch_frame
from torch_frame.data import MultiNestedTensor, TensorFrame

from pinsage.config import FeatureKind
from pinsage.errors import TrainingError
from pinsage.model.encoder import ItemEncoder
from pinsage.model.features import LOG_DEGREE, FeatureSpec

DEGREE = np.array([0, 1, 6, 2])
KINDS: dict[str, FeatureKind] = {
    "year": "numerical",
    "brand": "categorical",
    "genres": "multicategorical",
    "title": "text",
    "image": "embedding",
    "released": "timestamp",
}
CATALOG = pd.DataFrame(
    {
        "year": [1995, 2001, None, 1999],
        "brand": ["b", None, "a", "b"],
        "genres": ["War|Drama", "Drama", None, ""],
        "title": ["Toy Story", None, "Heat", "Up"],
        "image": [[1.0, 2.0], [3.0, 4.0], None, np.array([5.0, 6.0])],
        "released": ["1995-11-22", "2001-07-04T12:30:59Z", None, "1999-12-31"],
    }
)


def fit(catalog: pd.DataFrame, kinds: dict[str, FeatureKind] | None = None) -> FeatureSpec:
    degree = DEGREE[: len(catalog)]
    chosen = KINDS if kinds is None else kinds
    return FeatureSpec.fit(catalog, degree, chosen, separator="|", text_buckets=64)


def one(kind: FeatureKind, cells: list[Any]) -> tuple[FeatureSpec, pd.DataFrame]:
    frame = pd.DataFrame({"x": pd.Series(cells)})
    return fit(frame, {"x": kind}), frame


def cells_of(frame: TensorFrame, column: str) -> list[Any]:
    """A column's encoded cells as plain values."""
    for stype, names in frame.col_names_dict.items():
        if column in names:
            feat, at = frame.feat_dict[stype], names.index(column)
            if isinstance(feat, torch.Tensor):
                return list(feat[:, at].tolist())
            return [feat[row, at].tolist() for row in range(frame.num_rows)]
    raise AssertionError(column)


def encode(spec: FeatureSpec, frame: TensorFrame) -> torch.Tensor:
    torch.manual_seed(0)
    encoder = ItemEncoder(spec, channels=4, width=8, num_ids=0, id_dropout=0.0)
    with torch.no_grad():
        out: torch.Tensor = encoder(frame, torch.arange(frame.num_rows))
    return out


def digest() -> str:
    """Of all encoded values, and of the outputs of an encoder with seeded initial weights."""
    spec = fit(CATALOG)
    frame = spec.transform(CATALOG, DEGREE)
    values = [cells_of(frame, column) for column in sorted(spec.columns)]
    content = json.dumps([spec.to_dict(), values, encode(spec, frame).tolist()])
    return hashlib.sha256(content.encode()).hexdigest()


def test_numbers_stay_and_missing_ones_are_nan() -> None:
    spec = fit(CATALOG)
    encoded = cells_of(spec.transform(CATALOG, DEGREE), "year")
    np.testing.assert_array_equal(encoded, [1995, 2001, np.nan, 1999])
    assert spec.stats["year"]["MEAN"] == pytest.approx((1995 + 2001 + 1999) / 3)


def test_log_degree_is_always_a_column() -> None:
    spec = FeatureSpec.fit(CATALOG, DEGREE, {}, separator="|", text_buckets=64)
    encoded = cells_of(spec.transform(CATALOG, DEGREE), LOG_DEGREE)
    np.testing.assert_allclose(encoded, np.log([1, 2, 7, 3]), rtol=1e-6)


def test_a_category_is_its_place_in_the_sorted_vocabulary() -> None:
    spec = fit(CATALOG)
    assert spec.stats["brand"] == {"vocabulary": ["a", "b"]}
    later = CATALOG.assign(brand=pd.Series(["a", "unseen", None, "b"]))
    assert cells_of(spec.transform(later, DEGREE), "brand") == [0, -1, -1, 1]


@pytest.mark.parametrize("cells", [[1, 2, 10], [1.0, 2.0, 10.0], ["1", "2", "10"]])
def test_a_number_as_a_category_is_the_same_as_text_integer_or_float(cells: list[Any]) -> None:
    # One missing cell turns a column of integers into one of floats.
    spec, _ = one("categorical", [1, 10, 2])
    later = pd.DataFrame({"x": pd.Series(cells)})
    assert cells_of(spec.transform(later, DEGREE[:3]), "x") == [0, 2, 1]


def test_several_categories_are_their_places() -> None:
    spec = fit(CATALOG)
    assert spec.stats["genres"] == {"vocabulary": ["Drama", "War"]}
    assert cells_of(spec.transform(CATALOG, DEGREE), "genres") == [[0, 1], [0], [-1], [-1]]


def test_texts_are_hashed_into_the_buckets() -> None:
    bags = cells_of(fit(CATALOG).transform(CATALOG, DEGREE), "title")
    assert bags[1] == [-1]
    assert all(0 <= token < 64 for bag in bags if bag != [-1] for token in bag)
    assert len(bags[0]) > len(bags[3]) > 0


def test_vectors_stay_and_a_missing_one_is_zero() -> None:
    spec = fit(CATALOG)
    assert spec.stats["image"] == {"dim": 2}
    encoded = cells_of(spec.transform(CATALOG, DEGREE), "image")
    assert encoded == [[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [5.0, 6.0]]


def test_a_time_is_its_calendar_parts_and_a_missing_one_minus_ones() -> None:
    encoded = cells_of(fit(CATALOG).transform(CATALOG, DEGREE), "released")
    # months and days count from 0; 2001-07-04 was a Wednesday, day 2 of the week
    assert encoded[1] == [2001, 6, 3, 2, 12, 30, 59]
    assert encoded[2] == [-1] * 7


def test_a_time_before_any_that_was_fitted_is_put_into_the_first_year() -> None:
    spec = fit(CATALOG)
    later = CATALOG.assign(released="1888-02-29")
    frame = spec.transform(later, DEGREE)
    assert cells_of(frame, "released")[0][:3] == [1995, 1, 28]
    assert encode(spec, frame).isfinite().all()


@pytest.mark.parametrize("column", list(KINDS))
def test_an_item_with_a_missing_value_gets_a_finite_vector(column: str) -> None:
    spec = fit(CATALOG)
    later = CATALOG.assign(**{column: None})
    assert encode(spec, spec.transform(later, DEGREE)).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("numerical", "many"), ("numerical", float("inf")), ("timestamp", "soon")],
)
def test_what_cannot_be_read_counts_as_missing(kind: FeatureKind, cell: Any) -> None:
    good: Any = {"numerical": 3.0, "timestamp": "2001-01-01"}[kind]
    spec, frame = one(kind, [good, good, None, cell])
    encoded = encode(spec, spec.transform(frame, DEGREE * 0))
    assert encoded.isfinite().all()
    torch.testing.assert_close(encoded[2], encoded[3])


def test_a_constant_number_does_not_throw_a_later_other_one_far_away() -> None:
    spec, frame = one("numerical", [7.3, 7.3, 7.3, 7.3])
    usual = encode(spec, spec.transform(frame, DEGREE))
    later = encode(spec, spec.transform(frame.assign(x=8.3), DEGREE))
    assert (later - usual).abs().max() < 1


def test_a_catalog_of_one_degree_can_be_fitted() -> None:
    degree = np.full(4, 3)
    spec = FeatureSpec.fit(CATALOG, degree, {}, separator="|", text_buckets=64)
    assert encode(spec, spec.transform(CATALOG, DEGREE)).abs().max() < 10


@pytest.mark.parametrize("kind", list(KINDS.values()))
def test_a_column_without_any_value_is_named(kind: FeatureKind) -> None:
    with pytest.raises(TrainingError, match=r"'x': every value is missing.*data\.items\.features"):
        one(kind, [None, None])


@pytest.mark.parametrize(("kind", "cells"), [("numerical", ["a", "b"]), ("timestamp", ["a", "b"])])
def test_a_column_without_any_readable_value_is_named(kind: FeatureKind, cells: list[Any]) -> None:
    with pytest.raises(TrainingError, match=f"'x': every value is missing or not {kind}"):
        one(kind, cells)


@pytest.mark.parametrize("cells", [[[1.0], [1.0, 2.0]], ["[1, 2]", "[3, 4]"], [1.0, 2.0]])
def test_vectors_that_are_not_of_one_length_are_refused(cells: list[Any]) -> None:
    with pytest.raises(TrainingError, match="'x': embeddings must all be lists of one length"):
        one("embedding", cells)


@pytest.mark.parametrize("cell", [[1.0, 2.0, 3.0], "[1, 2]", 1.0])
def test_a_later_vector_of_another_shape_is_named_with_its_row(cell: Any) -> None:
    spec, _ = one("embedding", [[1.0, 2.0], [3.0, 4.0]])
    later = pd.DataFrame({"x": pd.Series([[1.0, 2.0], cell])})
    with pytest.raises(TrainingError, match="'x', row 1: expected a list of 2 numbers"):
        spec.transform(later, DEGREE[:2])


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(TrainingError, match=r"no column 'year' \(it has brand, genres"):
        fit(CATALOG.drop(columns="year"))
    with pytest.raises(TrainingError, match="no column 'year'"):
        fit(CATALOG).transform(CATALOG.drop(columns="year"), DEGREE)


def test_a_spec_read_from_json_encodes_the_same() -> None:
    spec = fit(CATALOG)
    again = FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    left, right = spec.transform(CATALOG, DEGREE), again.transform(CATALOG, DEGREE)
    for column in spec.columns:
        assert repr(cells_of(left, column)) == repr(cells_of(right, column))
    torch.testing.assert_close(encode(spec, left), encode(again, right), rtol=0, atol=0)


def test_rows_encode_alone_as_among_others() -> None:
    spec = fit(CATALOG)
    frame = spec.transform(CATALOG, DEGREE)
    rows = torch.tensor([3, 0, 3])
    torch.testing.assert_close(encode(spec, frame[rows]), encode(spec, frame)[rows])


def test_an_empty_catalog_encodes_to_no_rows() -> None:
    spec = fit(CATALOG)
    assert spec.transform(CATALOG[:0], DEGREE[:0]).num_rows == 0


def test_kinds_become_the_types_of_pytorch_frame() -> None:
    spec = fit(CATALOG)
    assert spec.col_names_dict == {
        torch_frame.categorical: ["brand"],
        torch_frame.multicategorical: ["genres", "title"],
        torch_frame.embedding: ["image"],
        torch_frame.numerical: [LOG_DEGREE, "year"],
        torch_frame.timestamp: ["released"],
    }
    feats = spec.transform(CATALOG, DEGREE).feat_dict
    assert isinstance(feats[torch_frame.multicategorical], MultiNestedTensor)


def test_another_process_with_another_hash_seed_encodes_the_same() -> None:
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout == digest()


if __name__ == "__main__":
    sys.stdout.write(digest())
