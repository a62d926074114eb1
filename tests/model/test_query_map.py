"""A query's learned map: the same in torch and NumPy, and kept with the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pinsage.config import ModelConfig
from pinsage.errors import ArtifactError
from pinsage.model.features import FeatureSpec
from pinsage.model.io import save_model
from pinsage.model.pinsage import PinSage
from pinsage.model.query import WEIGHTS, QueryMap, read_query_map


def make(**changes: object) -> PinSage:
    items = pd.DataFrame({"year": [1.0, 2.0, 4.0]})
    spec = FeatureSpec.fit(
        items, np.array([1, 2, 3]), {"year": "numerical"}, separator="|", text_buckets=8
    )
    sizes = {"layers": 1, "hidden": 6, "output": 4, "feature_channels": 4}
    return PinSage(ModelConfig.model_validate({**sizes, **changes}), spec, 3)


def test_without_a_map_an_embedding_searches_with_itself(tmp_path: Path) -> None:
    model = make()
    save_model(model, tmp_path)
    vectors = np.random.default_rng(0).random((3, 4), dtype=np.float32)
    assert read_query_map(tmp_path)(vectors) is vectors
    assert model.query(torch.from_numpy(vectors)).numpy().tolist() == vectors.tolist()


@pytest.mark.parametrize("normalize", [True, False])
def test_a_map_begins_as_the_inner_product(*, normalize: bool) -> None:
    unit = torch.nn.functional.normalize(torch.randn(5, 4), dim=1)
    torch.testing.assert_close(make(query_map=True, normalize=normalize).query(unit), unit)


@pytest.mark.parametrize("normalize", [True, False])
def test_what_is_read_is_what_was_trained(tmp_path: Path, *, normalize: bool) -> None:
    model = make(query_map=True, normalize=normalize)
    assert model.query_map is not None
    torch.nn.init.normal_(model.query_map.weight)
    save_model(model, tmp_path)
    z = torch.randn(5, 4)
    expected = model.query(z).detach().numpy()
    for query in (read_query_map(tmp_path), model.as_query_map()):
        np.testing.assert_allclose(query(z.numpy()), expected, atol=1e-6)
        np.testing.assert_allclose(query(z[2].numpy()), expected[2], atol=1e-6)


def test_by_hand() -> None:
    turn = QueryMap(np.array([[0, -2], [2, 0]], dtype=np.float32), normalize=True)
    assert turn(np.array([1, 0], dtype=np.float32)).tolist() == [0, 1]
    assert turn(np.zeros(2, dtype=np.float32)).tolist() == [0, 0]


def test_a_model_without_its_weights_is_refused(tmp_path: Path) -> None:
    save_model(make(query_map=True), tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"")
    with pytest.raises(ArtifactError, match=rf"{WEIGHTS}: not a readable model"):
        read_query_map(tmp_path)
