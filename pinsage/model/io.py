"""Models on disk: safetensors weights and JSON, nothing that could run code when loaded."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pinsage.config import ModelConfig
from pinsage.errors import ArtifactError
from pinsage.model.features import FeatureSpec
from pinsage.model.pinsage import PinSage
from pinsage.model.query import ARCHITECTURE, WEIGHTS

FEATURES = "features.json"


def save_model(model: PinSage, folder: Path) -> None:
    """Write weights, sizes and fitted features into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    architecture = {"model": model.config.model_dump(), "num_items": model.num_items}
    (folder / ARCHITECTURE).write_text(json.dumps(architecture, indent=2))
    (folder / FEATURES).write_text(json.dumps(model.spec.to_dict()))


def load_model(folder: Path) -> PinSage:
    """Read a model for inference. Raises ArtifactError naming the file that cannot be read."""
    source = folder / ARCHITECTURE
    try:
        architecture = json.loads(source.read_text())
        config, num_items = ModelConfig(**architecture["model"]), int(architecture["num_items"])
        model = PinSage(config, load_spec(folder), num_items)
        source = folder / WEIGHTS
        model.load_state_dict(load_file(source))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{source}: not a readable model ({error}); train again") from error
    return model.eval()


def load_spec(folder: Path) -> FeatureSpec:
    """The fitted features of a model, without its weights. Raises ArtifactError."""
    source = folder / FEATURES
    try:
        return FeatureSpec.from_dict(json.loads(source.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{source}: not a readable model ({error}); train again") from error
