"""A planted regression is blocked in 95 of 100 nights at least, a retraining in 5 at most."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pinsage.config import GateConfig
from pinsage.promotion.power import largest_error, pairs_needed

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NIGHTS = 100
POLICY = GateConfig(resamples=500)


@pytest.fixture(scope="module")
def nights() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return import_module("_gate_nights")
    finally:
        sys.path.remove(str(BENCHMARKS))


def verdicts(nights: Any, world: Any, num_users: int, regression: float) -> list[str]:
    rng = np.random.default_rng(20260)
    drawn = (nights.simulated(world, num_users, regression, rng) for _ in range(NIGHTS))
    found = [nights.change_of(night, POLICY, seed) for seed, night in enumerate(drawn)]
    return [nights.judged(change, POLICY).verdict for change in found]


@pytest.mark.slow
@pytest.mark.parametrize("seed_noise", [0.0, 0.004])
@pytest.mark.parametrize("num_users", [290, 1000, 3000])
def test_a_regression_is_blocked_and_a_retraining_is_not(
    nights: Any, num_users: int, seed_noise: float
) -> None:
    world = nights.World(seed_noise=seed_noise)
    regressed = verdicts(nights, world, num_users, 0.03)
    assert NIGHTS - regressed.count("promote") >= 95
    retrained = verdicts(nights, world, num_users, 0.0)
    assert NIGHTS - retrained.count("promote") <= 5


@pytest.mark.parametrize("regression", [0.0, 0.03])
def test_with_too_few_users_people_are_asked_and_no_regression_slips_through(
    nights: Any, regression: float
) -> None:
    found = verdicts(nights, nights.World(), 50, regression)
    if regression:
        assert found.count("promote") <= 5
    else:
        assert found.count("ask") >= 70


def test_a_simulated_regression_is_as_large_as_it_says(nights: Any) -> None:
    night = nights.simulated(nights.World(), 20_000, 0.03, np.random.default_rng(1))
    change = nights.change_of(night, GateConfig(resamples=100), 0)
    assert change.value == pytest.approx(-0.03, abs=4 * change.error)
    assert change.error < 0.001


def test_the_error_falls_as_the_power_calculation_says(nights: Any) -> None:
    rng = np.random.default_rng(2)
    night = nights.simulated(nights.World(tilt=0.0), 2000, 0.0, rng)
    change = nights.change_of(night, GateConfig(resamples=2000), 0)
    changed = float(((night.champion <= 100) != (night.challenger <= 100)).mean())
    needed = pairs_needed(change.error, hit_rate=change.old, changed=changed)
    assert needed == pytest.approx(change.num_pairs, rel=0.15)


def test_the_largest_errors_are_those_of_the_two_promises() -> None:
    policy = GateConfig()
    assert largest_error(policy, widened=False) == pytest.approx(0.01 / 3.92, rel=1e-3)
    assert largest_error(policy, widened=True) == pytest.approx(0.03 / 3.92, rel=1e-3)
