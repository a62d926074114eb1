"""Simulated nights for the gate: champion and challenger as hits of users' pairs.

Users differ in how much they do and in how well they are served; both models share that, so that
their outcomes go together. A retraining of the same model loses some hits and gains as many among
the misses, more of the one or the other by user: what another seed does. The numbers are those of
five seeds on the test period of MovieLens-100K: 290 users with 33 pairs on average (a log-normal
of sigma 1.16), hit-rates with a mean of .5 and a standard deviation of .15, and 4 % of the hits
lost; the tilt puts the standard error near the .43 % that was measured. A regression turns a share
of the challenger's remaining hits into misses at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinsage.config import GateConfig
from pinsage.evaluation.metrics import Ranks
from pinsage.evaluation.slices import ALL
from pinsage.promotion.comparison import changes
from pinsage.promotion.decide import Decision, decide
from pinsage.promotion.evidence import Change, Check, Comparison, Evidence

K = 100
METRIC = f"hit_rate_{K}"
_MOST = 5  # pairs of a user, in means
_HIT, _MISS = 10.0, 10.0 * K  # any ranks on either side
_FINE = Check(passed=True, message="not simulated")


@dataclass(frozen=True)
class World:
    """What the nights are drawn from.

    Attributes:
        pairs_a_user: mean; the spread is log-normal
        hit_rate: mean over users
        lost: share of hits that a retraining loses
        tilt: standard deviation over users of how much more is lost than gained
        seed_noise: relative standard deviation of a retraining as a whole
    """

    pairs_a_user: float = 33.0
    spread: float = 1.16
    hit_rate: float = 0.5
    concentration: float = 10.0
    lost: float = 0.04
    tilt: float = 0.2
    seed_noise: float = 0.0


@dataclass(frozen=True)
class Night:
    """One night's ranks, float64 [P] each, and the user of each pair."""

    user_row: npt.NDArray[np.int32]
    champion: Ranks
    challenger: Ranks


def simulated(world: World, num_users: int, regression: float, rng: np.random.Generator) -> Night:
    """A night with a challenger that is a retraining, worse by `regression` in expectation."""
    sizes = rng.lognormal(np.log(world.pairs_a_user) - world.spread**2 / 2, world.spread, num_users)
    pairs = np.clip(sizes.round(), 1, _MOST * world.pairs_a_user).astype(np.int64)
    user = np.repeat(np.arange(num_users, dtype=np.int32), pairs)
    mean, strength = world.hit_rate, world.concentration
    chance = rng.beta(mean * strength, (1 - mean) * strength, num_users)[user]
    before = rng.random(len(user)) < chance
    # Losing a hit and gaining a miss are as frequent, for a user without tilt.
    tilt = np.clip(rng.normal(0.0, world.tilt, num_users), -1, 1)[user]
    shift = rng.normal(0.0, world.seed_noise)
    lose = world.lost * (1 + tilt) + max(0.0, -shift)
    gain = (world.lost * (1 - tilt) + max(0.0, shift)) * chance / np.maximum(1 - chance, 0.05)
    draw = rng.random(len(user))
    after = np.where(before, draw >= lose, draw < gain)
    after &= rng.random(len(user)) >= regression
    ranks = [np.where(hits, _HIT, _MISS) for hits in (before, after)]
    return Night(user, *ranks)


def resampled(night: Night, num_users: int, regression: float, rng: np.random.Generator) -> Night:
    """A night of users drawn from a real one, with hits of the challenger lost at random."""
    order = np.argsort(night.user_row, kind="stable")
    _, first, count = np.unique(night.user_row[order], return_index=True, return_counts=True)
    drawn = rng.integers(0, len(first), num_users)
    rows = np.concatenate([order[first[u] : first[u] + count[u]] for u in drawn])
    challenger = night.challenger[rows].copy()
    challenger[(challenger <= K) & (rng.random(len(rows)) < regression)] = _MISS
    user = np.repeat(np.arange(num_users, dtype=np.int32), count[drawn])
    return Night(user, night.champion[rows], challenger)


def change_of(night: Night, policy: GateConfig, seed: int) -> Change:
    """What the gate measures of a night."""
    everything = {ALL: np.ones(len(night.user_row), dtype=np.bool_)}
    user, ranks = night.user_row, (night.challenger, night.champion)
    found = changes(*ranks, user, everything, [METRIC], policy, seed)[ALL, METRIC]
    if found is None:
        raise ValueError("the champion of a simulated night must have a hit: draw more users")
    return found


def judged(change: Change, policy: GateConfig) -> Decision:
    """What the gate decides on it, with all else in order."""
    comparison = Comparison(
        champion="yesterday",
        no_champion="",
        is_same_model=False,
        primary=change,
        beside=None,
        slices=(),
        baseline="popularity",
        against_baseline=None,
    )
    return decide(Evidence(comparison, _FINE, _FINE), policy)
