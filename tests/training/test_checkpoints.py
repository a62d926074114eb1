"""Checkpoints: complete or passed over."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pinsage.training import checkpoint as checkpoint_module
from pinsage.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    pack_optimizer,
    unpack_optimizer,
)

FILES = ["manifest.json", "state.json", "tensors.safetensors"]


def numbered(number: int) -> Checkpoint:
    tensors = {"w": torch.full((3,), float(number)), "known": torch.tensor([True, False])}
    return Checkpoint(tensors, {"step": number, "share": 0.1, "history": [{"mrr": 1 / 3}]})


def assert_latest(checkpoints: Checkpoints, number: int) -> None:
    found = checkpoints.latest()
    assert found is not None
    expected = numbered(number)
    assert found.state == expected.state
    assert found.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(found.tensors[name], expected.tensors[name]) for name in found.tensors)


@pytest.fixture
def three(tmp_path: Path) -> Checkpoints:
    """Steps 10, 20 and 30, of which the first is gone already."""
    made = Checkpoints(tmp_path, keep=2)
    for step in (10, 20, 30):
        made.save(step, numbered(step))
    return made


def steps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "new").latest() is None


def test_the_newest_comes_back_exactly_and_the_last_two_stay(
    three: Checkpoints, tmp_path: Path
) -> None:
    assert_latest(three, 30)
    assert steps(tmp_path) == ["step-0000000020", "step-0000000030"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path)
    for step in (9, 10, 100):
        made.save(step, numbered(step))
    assert_latest(made, 100)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["bit flip", "truncation", "removal", "emptied"])
def test_a_damaged_one_is_passed_over_with_a_warning(
    three: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str
) -> None:
    file = tmp_path / "step-0000000030" / name
    content = bytearray(file.read_bytes())
    if damage == "removal":
        file.unlink()
    else:
        content[len(content) // 2] ^= 1
        kept = {"bit flip": len(content), "truncation": len(content) - 1, "emptied": 0}[damage]
        file.write_bytes(content[:kept])
    with caplog.at_level(logging.WARNING):
        assert_latest(three, 20)
    assert "passing over a damaged checkpoint" in caplog.text
    assert "step-0000000030" in caplog.text


def test_with_all_damaged_training_starts_afresh(three: Checkpoints, tmp_path: Path) -> None:
    for step in (20, 30):
        (tmp_path / f"step-{step:010d}" / "manifest.json").unlink()
    assert three.latest() is None


def test_a_damaged_one_is_replaced_when_its_step_comes_again(
    three: Checkpoints, tmp_path: Path
) -> None:
    (tmp_path / "step-0000000030" / "state.json").write_text("{}")
    three.save(30, numbered(30))
    assert_latest(three, 30)


def test_saving_after_a_fall_back_drops_damaged_later_ones(
    three: Checkpoints, tmp_path: Path
) -> None:
    (tmp_path / "step-0000000030" / "state.json").write_text("{}")
    three.save(25, numbered(25))
    assert_latest(three, 25)
    assert steps(tmp_path) == ["step-0000000020", "step-0000000025"]


def test_the_best_stays_besides_the_last_ones(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, keep=2)
    for step, best in ((10, None), (20, 20), (30, 20), (40, 20), (50, 20)):
        made.save(step, replace(numbered(step), best=best))
    assert steps(tmp_path) == [f"step-{step:010d}" for step in (20, 40, 50)]
    assert torch.equal(made.of_step(20).tensors["w"], numbered(20).tensors["w"])


def test_of_two_that_name_different_bests_both_bests_stay(tmp_path: Path) -> None:
    made = Checkpoints(tmp_path, keep=2)
    for step, best in ((10, 10), (20, 10), (30, 10), (40, 40)):
        made.save(step, replace(numbered(step), best=best))
    assert steps(tmp_path) == [f"step-{step:010d}" for step in (10, 30, 40)]
    made.save(50, replace(numbered(50), best=40))  # nobody names the first any more
    assert steps(tmp_path) == [f"step-{step:010d}" for step in (40, 50)]


@pytest.mark.parametrize("keep", [1, 3])
def test_as_many_stay_as_are_asked_for(tmp_path: Path, keep: int) -> None:
    made = Checkpoints(tmp_path, keep=keep)
    for step in range(1, 6):
        made.save(step, numbered(step))
    assert steps(tmp_path) == [f"step-{step:010d}" for step in range(6 - keep, 6)]


def test_one_whose_best_is_damaged_is_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Checkpoints(tmp_path, keep=2)
    for step, best in ((10, 10), (20, 10), (30, 10), (40, 40), (50, 40)):
        made.save(step, replace(numbered(step), best=best))
    made = Checkpoints(tmp_path, keep=2)
    (tmp_path / "step-0000000040" / "tensors.safetensors").unlink()
    assert made.latest() is None  # 50 names it, and it is itself the one before
    assert "step-0000000040" in caplog.text


@pytest.mark.parametrize("step", [30, 40])
def test_a_failure_while_writing_leaves_the_last_one(
    three: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint_module, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        three.save(step, numbered(step))
    assert_latest(three, 30)
    assert steps(tmp_path) == ["step-0000000020", "step-0000000030"]


def test_an_optimizers_state_survives_packing() -> None:
    def optimizer() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 2)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)

    def step(layer: torch.nn.Linear, stepped: torch.optim.AdamW, number: int) -> None:
        stepped.zero_grad()
        (layer(torch.ones(1, 2)) * number).sum().backward()
        stepped.step()

    first, first_optimizer = optimizer()
    for number in (1, 2, 3):
        step(first, first_optimizer, number)
    second, second_optimizer = optimizer()
    for number in (1, 2):
        step(second, second_optimizer, number)
    third, third_optimizer = optimizer()
    third.load_state_dict(second.state_dict())
    unpack_optimizer(third_optimizer, pack_optimizer(second_optimizer))
    step(third, third_optimizer, 3)
    assert torch.equal(third.weight, first.weight)
    assert torch.equal(third.bias, first.bias)
