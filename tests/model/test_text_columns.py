"""Text columns by a sentence model in a spec, an encoder and a model on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch_frame
from torch_frame.data import MultiEmbeddingTensor

from pinsage.config import FeatureKind, ModelConfig
from pinsage.errors import ArtifactError
from pinsage.model.encoder import ItemEncoder
from pinsage.model.features import FeatureSpec
from pinsage.model.io import FEATURES, load_model, save_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text import HASHED, TextEncoder
from pinsage.model.text_vectors import Matrix

MODEL = TextEncoder("lengths", "00ff", 2)
DEGREE = np.array([0, 1, 6, 2])
CATALOG = pd.DataFrame(
    {
        "title": ["Up", "Heat", None, "Toy Story"],
        "plot": ["a", "", "ccc", "dd"],
        "image": [[1.0], [2.0], [3.0], [4.0]],
    }
)
KINDS: dict[str, FeatureKind] = {"title": "text", "plot": "text", "image": "embedding"}


def lengths(texts: Sequence[str], encoder: TextEncoder) -> Matrix:
    assert encoder == MODEL
    return np.array([[len(text), 1] for text in texts], dtype=np.float32)


def fit(encoder: TextEncoder = MODEL) -> FeatureSpec:
    return FeatureSpec.fit(
        CATALOG, DEGREE, KINDS, separator="|", text_buckets=16, text_encoder=encoder
    )


def test_a_spec_keeps_the_encoder_of_each_text_column() -> None:
    spec = fit()
    assert spec.stats["title"] == {"encoder": "lengths", "weights": "00ff", "dim": 2}
    again = FeatureSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again.text_encoder("title") == again.text_encoder("plot") == MODEL
    assert fit(HASHED).text_encoder("title") == HASHED


def test_texts_are_vectors_beside_those_that_were_given() -> None:
    frame = fit().transform(CATALOG, DEGREE, lengths)
    assert frame.col_names_dict[torch_frame.embedding] == ["image", "plot", "title"]
    feat = frame.feat_dict[torch_frame.embedding]
    assert isinstance(feat, MultiEmbeddingTensor)
    rows = [[1, 1, 1, 2, 1], [2, 0, 0, 4, 1], [3, 3, 1, 0, 0], [4, 2, 1, 9, 1]]
    assert feat.values.tolist() == rows


def test_a_missing_text_says_nothing_to_the_model() -> None:
    spec = fit()
    encoder = ItemEncoder(spec, channels=4, width=8, num_ids=0, id_dropout=0.0)
    encoded, names = encoder.columns(spec.transform(CATALOG, DEGREE, lengths))
    assert encoded[2, names.index("title")].tolist() == [0.0] * 4
    assert encoded[0, names.index("title")].any()


def test_a_catalog_of_no_items_encodes_to_no_rows() -> None:
    assert fit().transform(CATALOG[:0], DEGREE[:0], lengths).num_rows == 0


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    config = ModelConfig(hidden=8, output=4, feature_channels=4)
    save_model(PinSage(config, fit(), len(CATALOG)), tmp_path)
    return tmp_path


def edit(folder: Path, column: str, stats: dict[str, Any]) -> None:
    tree = json.loads((folder / FEATURES).read_text())
    tree["stats"][column] = stats
    (folder / FEATURES).write_text(json.dumps(tree))


def test_a_saved_model_encodes_texts_as_it_was_trained(saved: Path) -> None:
    model = load_model(saved)
    left = fit().transform(CATALOG, DEGREE, lengths).feat_dict[torch_frame.embedding]
    right = model.spec.transform(CATALOG, DEGREE, lengths).feat_dict[torch_frame.embedding]
    torch.testing.assert_close(left.values, right.values, rtol=0, atol=0)


def test_a_model_saved_before_there_was_a_choice_is_hashed(tmp_path: Path) -> None:
    config = ModelConfig(hidden=8, output=4, feature_channels=4)
    save_model(PinSage(config, fit(HASHED), len(CATALOG)), tmp_path)
    edit(tmp_path, "title", {})
    edit(tmp_path, "plot", {})
    spec = load_model(tmp_path).spec
    assert spec.text_encoder("title") == HASHED
    left, right = spec.transform(CATALOG, DEGREE), fit(HASHED).transform(CATALOG, DEGREE)
    bags = torch_frame.multicategorical
    assert torch.equal(left.feat_dict[bags].values, right.feat_dict[bags].values)


def test_a_saved_model_with_an_unknown_encoder_is_refused(saved: Path) -> None:
    edit(saved, "title", {"encoder": "later", "pooling": "max"})
    with pytest.raises(ArtifactError, match=rf"{FEATURES}: not a readable model.*text encoder"):
        load_model(saved)
