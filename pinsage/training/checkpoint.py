"""Checkpoints: safetensors and JSON, checksummed, complete or not visible.

    <folder>/step-0000001200/  tensors.safetensors, state.json, manifest.json

The last ones stay, and of earlier ones those that they name as the best. A checkpoint that is
damaged, or whose best is, is passed over for the one before it, with a warning.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field
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
    """What was saved.

    Attributes:
        tensors: by name
        state: JSON-able
        best: step of the checkpoint with the best weights so far, which may be this one; None
            where nothing was validated yet
        origin: what it was made with, see `Origin.tree`
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    best: int | None = None
    origin: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The checkpoints of one training run; the last `keep` of them stay, and their best ones."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder = folder
        self._keep = keep

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; the ones before it stay until it is complete."""
        target = self._at(step)
        with staging_folder(target) as staging:
            _write(staging, checkpoint)
            if target.exists():
                discard(target)  # damaged, like those of later steps
            publish_folder(staging, target)
        there = self._all()
        done = there.index(target) + 1
        last = there[max(0, done - self._keep) : done]
        kept = {*last, *(self._at(best) for folder in last for best in _named_best(folder))}
        # Those of later steps are damaged: an intact one would have been resumed from.
        for old in there:
            if old not in kept:
                discard(old)

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, and its best one with it, or None."""
        for folder in reversed(self._all()):
            try:
                found = _read(folder)
                if found.best is not None and self._at(found.best) != folder:
                    _verify(self._at(found.best))
            except ArtifactError as error:
                _log.warning("passing over a damaged checkpoint: %s", error)
            else:
                return found
        return None

    def of_step(self, step: int) -> Checkpoint:
        """The checkpoint that was saved at `step`. Raises ArtifactError where it is damaged."""
        return _read(self._at(step))

    def _at(self, step: int) -> Path:
        return self.folder / f"step-{step:010d}"

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    tensors = {name: value.contiguous() for name, value in checkpoint.tensors.items()}
    save_file(tensors, folder / _TENSORS)
    told = {name: getattr(checkpoint, name) for name in ("state", "best", "origin")}
    (folder / _STATE).write_text(json.dumps(told))
    files = {name: asdict(entry) for name, entry in inventory(folder).items()}
    (folder / MANIFEST).write_text(json.dumps(files))


def _read(folder: Path) -> Checkpoint:
    _verify(folder)
    try:
        told = json.loads((folder / _STATE).read_text())
        return Checkpoint(load_file(folder / _TENSORS), **told)
    except (OSError, ValueError, TypeError) as error:
        raise ArtifactError(f"{folder}: not a readable checkpoint ({error})") from error


def _verify(folder: Path) -> None:
    try:
        files = json.loads((folder / MANIFEST).read_text())
        verify(folder, {name: FileEntry(**entry) for name, entry in files.items()})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{folder}: not a readable checkpoint ({error})") from error


def _named_best(folder: Path) -> list[int]:
    """Step that a checkpoint names as the best; none where it is damaged, or names none."""
    try:
        best = json.loads((folder / _STATE).read_text())["best"]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [best] if isinstance(best, int) else []


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
