"""Models on disk: bit for bit the same, and a clear error where a file is broken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pinsage.config import ModelConfig
from pinsage.errors import ArtifactError
from pinsage.model.features import FeatureSpec
from pinsage.model.io import FEATURES, load_model, save_model
from pinsage.model.pinsage import PinSage
from pinsage.model.query import ARCHITECTURE, WEIGHTS


@pytest.fixture(params=[True, False], ids=["with ids", "content only"])
def model(request: pytest.FixtureRequest, spec: FeatureSpec) -> PinSage:
    config = ModelConfig(hidden=8, output=4, feature_channels=4, id_embedding=request.param)
    made = PinSage(config, spec, 5)
    if request.param:
        made.encoder.known[2] = False
    return made


@pytest.fixture
def saved(model: PinSage, tmp_path: Path) -> Path:
    save_model(model, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_comes_back_bit_for_bit(model: PinSage, saved: Path) -> None:
    loaded = load_model(saved)
    assert loaded.config == model.config
    assert loaded.num_items == model.num_items
    assert loaded.spec == model.spec
    assert not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_nothing_but_safetensors_and_json_is_written(saved: Path) -> None:
    assert {file.name for file in saved.iterdir()} == {WEIGHTS, ARCHITECTURE, FEATURES}
    for name in (ARCHITECTURE, FEATURES):
        json.loads((saved / name).read_text())
    header_bytes = int.from_bytes((saved / WEIGHTS).read_bytes()[:8], "little")
    json.loads((saved / WEIGHTS).read_bytes()[8 : 8 + header_bytes])


@pytest.mark.parametrize("name", [WEIGHTS, ARCHITECTURE, FEATURES])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(saved: Path, name: str, share: float) -> None:
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=rf"{name}: not a readable model .*train again"):
        load_model(saved)


@pytest.mark.parametrize("name", [WEIGHTS, ARCHITECTURE, FEATURES])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: not a readable model"):
        load_model(saved)


@pytest.mark.parametrize("content", ["{}", "[]", '{"model": {"layers": 9}, "num_items": 5}'])
def test_a_file_of_another_content_is_named(saved: Path, content: str) -> None:
    (saved / ARCHITECTURE).write_text(content)
    with pytest.raises(ArtifactError, match=rf"{ARCHITECTURE}: not a readable model"):
        load_model(saved)


def test_weights_of_another_size_are_refused(saved: Path) -> None:
    tree = json.loads((saved / ARCHITECTURE).read_text())
    tree["model"]["hidden"] = 16
    (saved / ARCHITECTURE).write_text(json.dumps(tree))
    with pytest.raises(ArtifactError, match=f"{WEIGHTS}: not a readable model"):
        load_model(saved)


def test_a_pickle_in_place_of_the_weights_is_not_run(saved: Path, tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    bomb = f"cposix\nsystem\n(S'touch {flag}'\ntR."  # what pickle would run
    (saved / WEIGHTS).write_text(bomb)
    with pytest.raises(ArtifactError, match=WEIGHTS):
        load_model(saved)
    assert not flag.exists()
