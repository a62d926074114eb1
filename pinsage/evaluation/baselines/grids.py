"""The settings that each baseline may be given.

`first` holds those that did well on the validation periods of several data sets; they fill the
usual budget. Steps are wide: what matters is the order of magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from pinsage.config import Baseline

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Grid:
    """Settings to try: those that come first, then all combinations of `axes`."""

    first: tuple[Settings, ...]
    axes: Mapping[str, Sequence[Any]]

    def take(self, trials: int, seed: int) -> list[Settings]:
        """At most `trials` different settings: the first, and a seeded sample of the others."""
        chosen = list(self.first[:trials])
        every = (
            dict(zip(self.axes, values, strict=True)) for values in product(*self.axes.values())
        )
        others = [settings for settings in every if settings not in chosen]
        drawn = np.random.default_rng(seed).permutation(len(others))[: trials - len(chosen)]
        # In the grid's order: settings that share a training stand next to each other.
        return chosen + [others[number] for number in sorted(drawn.tolist())]


def _each(after: Mapping[str, Sequence[Any]], *trained: Settings) -> tuple[Settings, ...]:
    """Every training's settings with each value of what is chosen after it."""
    ((name, values),) = after.items()
    return tuple({**settings, name: value} for settings in trained for value in values)


_SIMILARITIES = ("inner", "cosine")
_MATCHES = ("in-out", "in-in")

GRIDS: Mapping[Baseline, Grid] = {
    "item-kNN": Grid(
        first=(
            {"shrink": 20.0, "damping": 0.5, "context_damping": 0.0},
            {"shrink": 20.0, "damping": 0.5, "context_damping": 0.5},
            {"shrink": 0.0, "damping": 0.5, "context_damping": 1.0},
            {"shrink": 0.0, "damping": 0.3, "context_damping": 0.5},
            {"shrink": 20.0, "damping": 0.1, "context_damping": 0.0},
            {"shrink": 0.0, "damping": 0.5, "context_damping": 0.0},
        ),
        axes={
            "shrink": (0.0, 5.0, 20.0, 50.0, 100.0),
            "damping": (0.5, 0.3, 0.1, 0.0),
            "context_damping": (0.0, 0.5, 1.0),
        },
    ),
    # Next to each other where the pairs are the same: they are counted once.
    "transitions": Grid(
        first=_each(
            {"backward": (0.0, 1.0)},
            {"window": 1, "equal_times": "both"},
            {"window": 10, "equal_times": "both"},
            {"window": 10, "equal_times": "drop"},
        ),
        axes={
            "window": (1, 2, 5, 10, 20),
            "equal_times": ("both", "drop"),
            "backward": (0.0, 0.5, 1.0),
        },
    ),
    "Pixie": Grid(
        first=tuple(
            {"length": length, "damping": damping}
            for length, damping in product((1, 2), (0.0, 0.2, 0.4))
        ),
        axes={"length": (1, 2, 3), "damping": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)},
    ),
    # One item asks for far more regularisation than the histories that EASE is published with.
    "EASE": Grid(
        first=tuple({"regularization": value} for value in (3e2, 1e3, 3e3, 1e4, 3e4, 1e5)),
        axes={"regularization": (1e1, 3e1, 1e2, 2e2, 5e2, 2e3, 5e3, 2e4, 5e4, 2e5, 1e6)},
    ),
    "ALS": Grid(
        first=_each(
            {"similarity": _SIMILARITIES},
            {"factors": 32, "regularization": 1.0, "alpha": 5.0},
            {"factors": 32, "regularization": 1.0, "alpha": 1.0},
            {"factors": 64, "regularization": 1.0, "alpha": 1.0},
        ),
        axes={
            "factors": (16, 32, 64, 128),
            "regularization": (0.1, 1.0, 10.0),
            "alpha": (1.0, 5.0, 20.0),
            "similarity": _SIMILARITIES,
        },
    ),
    "BPR": Grid(
        first=_each(
            {"similarity": _SIMILARITIES},
            {"factors": 32, "learning_rate": 0.05, "rounds": 10},
            {"factors": 32, "learning_rate": 0.02, "rounds": 30},
            {"factors": 32, "learning_rate": 0.02, "rounds": 5},
        ),
        axes={
            "factors": (16, 32, 64),
            "learning_rate": (0.01, 0.02, 0.05, 0.1),
            "rounds": (5, 10, 30, 100),
            "similarity": _SIMILARITIES,
        },
    ),
    "item2vec": Grid(
        first=_each(
            {"match": _MATCHES},
            {"window": 10, "epochs": 3, "negative_power": 0.0},
            {"window": 5, "epochs": 3, "negative_power": -0.5},
            {"window": 2, "epochs": 3, "negative_power": 0.0},
        ),
        axes={
            "window": (2, 5, 10),
            "epochs": (3, 6),
            "negative_power": (-0.5, 0.0, 0.5, 0.75),
            "match": _MATCHES,
        },
    ),
    "content-kNN": Grid(
        first=({"idf": 1.0, "mass": 0.0}, {"idf": 2.0, "mass": 0.0}),
        axes={"idf": (1.0, 2.0), "mass": (0.0, 1.0)},
    ),
}
