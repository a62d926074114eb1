"""Row 3: a checkpoint is damaged; the one before is taken, with a warning."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pinsage.store import MANIFEST
from pinsage.training.checkpoint import Checkpoint, Checkpoints

FILES = ("tensors.safetensors", "state.json", MANIFEST)
Damage = Callable[[Path], object]


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        tensors = {"weights": torch.full((50,), float(step)), "count": torch.tensor(step)}
        Checkpoints(folder).save(step, Checkpoint(tensors, {"step": step}))


def newest(folder: Path) -> int | None:
    found = Checkpoints(folder).latest()
    if found is None:
        return None
    assert (found.tensors["weights"] == found.state["step"]).all()
    assert found.tensors["count"].item() == found.state["step"]
    return int(found.state["step"])


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["flipped bit", "cut short", "emptied", "missing"])
def test_the_one_before_is_used(
    tmp_path: Path,
    name: str,
    kind: str,
    flip_bit: Damage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damages: dict[str, Damage] = {
        "flipped bit": flip_bit,
        "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
        "emptied": lambda path: path.write_bytes(b""),
        "missing": Path.unlink,
    }
    save(tmp_path, 10, 20)
    damages[kind](tmp_path / "step-0000000020" / name)
    assert newest(tmp_path) == 10
    assert "passing over a damaged checkpoint" in caplog.text
    assert "step-0000000020" in caplog.text


def test_going_on_replaces_what_is_damaged(tmp_path: Path, flip_bit: Damage) -> None:
    save(tmp_path, 10, 20)
    flip_bit(tmp_path / "step-0000000020" / FILES[0])
    save(tmp_path, 15)
    assert newest(tmp_path) == 15
    assert there(tmp_path) == ["step-0000000010", "step-0000000015"]
    save(tmp_path, 20)
    assert newest(tmp_path) == 20


def test_none_is_used_where_all_are_damaged_and_a_new_start_is_kept(
    tmp_path: Path, flip_bit: Damage
) -> None:
    save(tmp_path, 10, 20)
    for step in (10, 20):
        flip_bit(tmp_path / f"step-{step:010d}" / FILES[0])
    assert newest(tmp_path) is None
    save(tmp_path, 5)
    assert newest(tmp_path) == 5
    assert there(tmp_path) == ["step-0000000005"]


def test_last_two_are_kept(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 30, 4_000_000_000)
    assert there(tmp_path) == ["step-0000000030", "step-4000000000"]


def test_there_is_none_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").latest() is None
