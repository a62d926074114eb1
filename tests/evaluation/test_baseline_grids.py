from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.config import Baseline, EvaluationConfig
from pinsage.evaluation.baselines.grids import GRIDS, Grid
from pinsage.evaluation.baselines.methods import METHODS

SMALL = Grid(first=({"a": 1, "b": 2}, {"a": 2, "b": 1}), axes={"a": (1, 2, 3), "b": (1, 2)})


def combinations(grid: Grid) -> int:
    size = 1
    for values in grid.axes.values():
        size *= len(values)
    return size


@given(st.integers(1, 10), st.integers(0, 99))
def test_a_budget_takes_the_first_settings_and_then_a_sample_of_all_others(
    trials: int, seed: int
) -> None:
    taken = SMALL.take(trials, seed)
    assert taken[:2] == list(SMALL.first)[:trials]
    assert len(taken) == min(trials, 6)
    assert all(settings not in taken[:n] for n, settings in enumerate(taken))
    assert all(set(settings) == {"a", "b"} for settings in taken)


def test_the_seed_decides_which_of_the_others() -> None:
    drawn = [SMALL.take(4, seed)[2:] for seed in range(20)]
    assert SMALL.take(4, 3) == SMALL.take(4, 3)
    assert any(each != drawn[0] for each in drawn)


def test_a_budget_above_the_grid_takes_all_of_it() -> None:
    assert len(SMALL.take(100, 1)) == 6


@pytest.mark.parametrize("name", list(GRIDS))
def test_the_first_settings_of_a_baseline_fit_the_usual_budget_and_are_different(
    name: Baseline,
) -> None:
    grid = GRIDS[name]
    assert len(grid.first) <= EvaluationConfig().trials
    taken: list[Mapping[str, Any]] = grid.take(10_000, 1)
    assert all(set(settings) == set(grid.axes) for settings in taken)
    assert all(settings not in taken[:n] for n, settings in enumerate(taken))
    assert combinations(grid) <= len(taken) <= combinations(grid) + len(grid.first)


def test_every_baseline_but_those_without_settings_has_a_grid_and_a_builder() -> None:
    assert set(GRIDS) == set(METHODS) == set(get_args(Baseline)) - {"random", "popularity"}
