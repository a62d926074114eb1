"""Checkpoints: safetensors and JSON, checksummed, complete or not visible.

    <folder>/step-00001200/  tensors.safetensors, state.json, manifest.json

A checkpoint that is damaged is passed over for the one before it, with a warning.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pinsage.errors import ArtifactError
from pinsage.files import discard, publish_folder, staging_folder
from pinsage.store import MANIFEST, FileEntry, inventory, verify

_TENSORS = "tensors.safetensors"
_STATE = "state.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: named tensors, and a JSON-able state."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training run; the last `keep` of them stay."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the ones before it stay until it is complete."""
        target = self._folder / f"step-{step:010d}"
        with staging_folder(target) as staging:
            _write(staging, checkpoint)
            if target.exists():
                discard(target)  # damaged, like those of later steps
            publish_folder(staging, target)
        there = self._all()
        done = there.index(target) + 1
        # Those of later steps are damaged: an intact one would have been resumed from.
        for old in [*there[done:], *there[: max(0, done - self._keep)]]:
            discard(old)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None."""
        for folder in reversed(self._all()):
            try:
                return _read(folder)
            except ArtifactError as error:
                _log.warning("passing over a damaged checkpoint: %s", error)
        return None

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    tensors = {name: value.contiguous() for name, value in checkpoint.tensors.items()}
    save_file(tensors, folder / _TENSORS)
    (folder / _STATE).write_text(json.dumps(checkpoint.state))
    files = {name: asdict(entry) for name, entry in inventory(folder).items()}
    (folder / MANIFEST).write_text(json.dumps(files))


def _read(folder: Path) -> Checkpoint:
    try:
        files = json.loads((folder / MANIFEST).read_text())
        verify(folder, {name: FileEntry(**entry) for name, entry in files.items()})
        state = json.loads((folder / _STATE).read_text())
        return Checkpoint(load_file(folder / _TENSORS), state)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder}: not a readable checkpoint ({error})") from error


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{index}.{name}": value
        for index, values in state.items()
        for name, value in values.items()
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Inverse of `pack_optimizer`."""
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, value in tensors.items():
        kind, _, rest = full_name.partition(".")
        if kind == "optimizer":
            index, name = rest.split(".", 1)
            state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
