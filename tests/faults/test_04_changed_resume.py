"""Row 4: a resume with a changed configuration or other data is refused, and names the difference.

In the pipeline a change is another key, hence another folder; here the folder stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pinsage.errors import TrainingError
from pinsage.store import Facts, Workspace
from pinsage.training.loop import EpochReport
from pinsage.training.stage import write_trained

Train = Callable[..., Facts]


class StoppedError(Exception):
    """The training was interrupted."""


def stop(_: EpochReport) -> None:
    raise StoppedError


@pytest.fixture
def train(tiny_run: SimpleNamespace, tmp_path: Path) -> Train:
    """`train(on_epoch=None, inputs={…}, **training)` in a folder of checkpoints that stays."""

    def run(
        on_epoch: Callable[[EpochReport], None] | None = None,
        inputs: dict[str, str] | None = None,
        **training: Any,
    ) -> Facts:
        config = tiny_run.config.model_copy(
            update={"training": tiny_run.config.training.model_copy(update=training)}
        )
        made = tiny_run.train.manifest
        work = Workspace(tmp_path / "out", tmp_path / "scratch", "key", made.settings, made.inputs)
        given = {"training": config.training.model_dump(exclude={"workers"})}
        work = replace(work, settings={**made.settings, **given}, inputs=inputs or made.inputs)
        folders = (tiny_run.split.path, tiny_run.graph.path, tiny_run.table.path)
        return write_trained(config, *folders, work, on_epoch)

    return run


def test_a_changed_setting_is_named_with_both_values_and_going_back_resumes(
    train: Train, tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    with pytest.raises(StoppedError):
        train(stop)
    before = sorted(path.name for path in (tmp_path / "scratch").iterdir())
    with pytest.raises(TrainingError) as caught:
        train(learning_rate=0.001, epochs=3)
    message = str(caught.value)
    assert "training.learning_rate: 0.002 in the checkpoint, 0.001 now" in message
    assert "training.epochs: 2 in the checkpoint, 3 now" in message
    assert f"Delete {tmp_path / 'scratch'} to train anew" in message
    assert sorted(path.name for path in (tmp_path / "scratch").iterdir()) == before
    facts = train()
    name = "model/weights.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == tiny_run.train.file(name).read_bytes()
    assert facts["epochs"] == 2


def test_other_data_is_named(train: Train, tiny_run: SimpleNamespace) -> None:
    with pytest.raises(StoppedError):
        train(stop)
    inputs = tiny_run.train.manifest.inputs
    with pytest.raises(TrainingError, match=r"input pairs: \w{12} in the checkpoint, beefbeefbeef"):
        train(inputs={**inputs, "pairs": "beef" * 8})
