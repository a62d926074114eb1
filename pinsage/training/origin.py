"""What a checkpoint was made with: a resume with anything else is refused, and says why.

In the pipeline a folder of checkpoints belongs to one key, which holds the settings and the inputs
already. The check is for whoever gives a `Trainer` a folder that was another training's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from pinsage.errors import TrainingError
from pinsage.graph.neighbourhoods import Neighbourhoods

_DIGEST = 12  # characters of one that a person compares
_VALUE = 100  # characters of a setting: a vocabulary would fill the screen


@dataclass(frozen=True)
class Origin:
    """Settings and inputs of a training.

    Attributes:
        settings: JSON-able, groups of settings by name
        inputs: digest of each input's content by name
    """

    settings: Mapping[str, Any]
    inputs: Mapping[str, str]

    @cached_property
    def tree(self) -> dict[str, Any]:
        """JSON-able form, as it comes back from a file."""
        tree: dict[str, Any] = json.loads(
            json.dumps({"settings": self.settings, "inputs": self.inputs}, default=str)
        )
        return tree

    def require(self, saved: Mapping[str, Any], folder: Path) -> None:
        """Raise TrainingError naming each difference to the origin saved in `folder`."""
        found = _differences(saved, self.tree)
        if found:
            raise TrainingError(
                f"{folder}: its checkpoints are of another training: {'; '.join(found)}. Delete "
                f"{folder} to train anew, or go back to what they were made with to resume"
            )


def array_digest(arrays: Iterable[np.ndarray[Any, Any]]) -> str:
    """Digest of arrays: their types, shapes and values."""
    digest = blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digest_of_tables(tables: Iterable[Neighbourhoods]) -> str:
    """Digest of all of these tables, in their order."""
    return array_digest(part for table in tables for part in (table.neighbors, table.weights))


def _differences(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        *_changed(dict(_leaves(saved.get("settings", {}))), dict(_leaves(now["settings"])), _value),
        *(f"input {each}" for each in _changed(saved.get("inputs", {}), now["inputs"], _digest)),
    ]


def _changed(
    saved: Mapping[str, Any], now: Mapping[str, Any], show: Callable[[Any], str]
) -> Iterator[str]:
    for name in sorted({*saved, *now}):
        was, is_ = (show(each[name]) if name in each else "nothing" for each in (saved, now))
        if name not in saved or name not in now or saved[name] != now[name]:
            yield f"{name}: {was} in the checkpoint, {is_} now"


def _value(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}…"


def _digest(digest: str) -> str:
    return digest[:_DIGEST]


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name, as they are written in a configuration."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
