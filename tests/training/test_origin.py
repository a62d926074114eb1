"""A checkpoint is resumed with what it was made with; anything else is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pinsage.errors import TrainingError
from pinsage.training.origin import Origin, array_digest

SETTINGS = {
    "seed": 1,
    "training": {"learning_rate": 0.002, "epochs": 3},
    "validation": {"ks": (5,)},
}
INPUTS = {"pairs": "a" * 32, "graph": "b" * 32}
MADE = Origin(SETTINGS, INPUTS)


def test_the_same_is_accepted_tuples_and_all() -> None:
    Origin(dict(SETTINGS), dict(INPUTS)).require(MADE.tree, Path("folder"))


def test_every_difference_is_named_with_both_values_and_what_to_do() -> None:
    training = {"learning_rate": 0.001, "epochs": 3, "clip": 1.0}
    now = Origin({"seed": 1, "training": training}, {**INPUTS, "pairs": "c" * 32})
    with pytest.raises(TrainingError) as caught:
        now.require(MADE.tree, Path("folder"))
    assert str(caught.value) == (
        "folder: its checkpoints are of another training: "
        "training.clip: nothing in the checkpoint, 1.0 now; "
        "training.learning_rate: 0.002 in the checkpoint, 0.001 now; "
        "validation.ks: [5] in the checkpoint, nothing now; "
        "input pairs: aaaaaaaaaaaa in the checkpoint, cccccccccccc now. "
        "Delete folder to train anew, or go back to what they were made with to resume"
    )


def test_a_long_value_is_cut_short() -> None:
    with pytest.raises(TrainingError) as caught:
        Origin({"words": ["w"] * 9000}, {}).require(Origin({}, {}).tree, Path("folder"))
    assert len(str(caught.value)) < 400


def test_what_says_nothing_of_its_origin_differs_in_all() -> None:
    with pytest.raises(TrainingError, match="input graph: nothing in the checkpoint, bbbbbbbbbbbb"):
        MADE.require({}, Path("folder"))


def test_an_arrays_digest_is_of_its_type_its_shape_and_its_values() -> None:
    arrays = [
        np.arange(4), np.arange(4)[::-1], np.arange(4.0), np.arange(4).reshape(2, 2), np.empty(0),
    ]  # fmt: skip
    assert len({array_digest([each]) for each in arrays}) == 5
    assert array_digest([np.arange(8)[::2]]) == array_digest([np.array([0, 2, 4, 6])])
