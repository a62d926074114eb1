"""Confidence intervals by bootstrap over users (Efron & Tibshirani 1993; Field & Welsh 2007).

A user's pairs depend on each other, so whole users are drawn, with replacement. Every column of a
call shares its resamples: the difference of two columns' replicates is a paired comparison.
Beyond some thousands of users, groups of users chosen by lot are drawn in their stead: the variance
is the same in expectation, and time and memory no longer grow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MOST_CLUSTERS = 8192
_BLOCK_WEIGHTS = 1 << 21  # 16 MiB of float64 weights at a time


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its percentile interval; NaN where nothing was measured."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, replicates: Array, confidence: float) -> Interval:
        """Percentile interval of level `confidence` from the replicates, float64 [R].

        Replicates that are NaN (a resample that drew no user of a slice) are left out.
        """
        drawn = replicates[~np.isnan(replicates)]
        if len(drawn) == 0:
            return cls(value, float("nan"), float("nan"))
        tail = (1.0 - confidence) / 2.0
        low, high = np.quantile(drawn, (tail, 1.0 - tail))
        return cls(value, float(low), float(high))


@dataclass(frozen=True)
class Clusters:
    """Pairs grouped by what is drawn: a user, or a group of users.

    Attributes:
        index: int64 [P], the cluster of each pair, in [0, num)
        num: number of clusters
        num_users: number of users
    """

    index: npt.NDArray[np.int64]
    num: int
    num_users: int

    @classmethod
    def of(cls, user_row: npt.NDArray[np.int32]) -> Clusters:
        """Number the users that occur densely; more than `MOST_CLUSTERS` are grouped by lot."""
        users, index = np.unique(user_row, return_inverse=True)
        num = min(len(users), MOST_CLUSTERS)
        if num < len(users):
            # A lot of its own, so that groups do not depend on the seed of the resamples.
            group = np.random.default_rng(len(users)).permutation(len(users)) % num
            index = group[index]
        return cls(index.astype(np.int64), num, len(users))

    def sums(self, values: npt.NDArray[np.generic]) -> Array:
        """Sum of a value a pair, for each cluster; float64 [num]."""
        weights = values.astype(np.float64)
        return np.asarray(np.bincount(self.index, weights, self.num), dtype=np.float64)


@dataclass(frozen=True)
class Ratios:
    """Means over pairs as ratios of sums and counts a cluster.

    Attributes:
        sums: float64 [U, M], of each metric's values over a cluster's pairs
        counts: float64 [U, G], pairs of a cluster in each group (all pairs, or a slice)
        group: int64 [M], which column of `counts` divides a metric
    """

    sums: Array
    counts: Array
    group: npt.NDArray[np.int64]

    def estimate(self) -> Array:
        """The M means themselves, float64 [M]; NaN for a group without pairs."""
        return self._divide(self.sums.sum(axis=0), self.counts.sum(axis=0))

    def bootstrap(self, resamples: int, seed: int) -> Array:
        """Replicates of the M means, float64 [R, M]: column m of row r is resample r's."""
        columns = np.concatenate([self.sums, self.counts], axis=1)
        totals = np.empty((resamples, columns.shape[1]))
        first = 0
        for weights in _weight_blocks(len(columns), resamples, seed):
            np.matmul(weights, columns, out=totals[first : first + len(weights)])
            first += len(weights)
        width = self.sums.shape[1]
        return self._divide(totals[:, :width], totals[:, width:])

    def _divide(self, sums: Array, counts: Array) -> Array:
        divisor = counts[..., self.group]
        return np.divide(sums, divisor, out=np.full_like(sums, np.nan), where=divisor > 0)


def draw_users(num_users: int, resamples: int, seed: int) -> Iterator[npt.NDArray[np.int32]]:
    """Each resample's users, int32 [U]: drawn uniformly with replacement. The seed decides all."""
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(0, num_users, size=num_users, dtype=np.int32)


def _weight_blocks(num_users: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each user was drawn, float64 [≤ block, U], exact whole numbers."""
    size = max(1, min(resamples, _BLOCK_WEIGHTS // num_users))
    draws = draw_users(num_users, resamples, seed)
    for first in range(0, resamples, size):
        weights = np.empty((min(size, resamples - first), num_users))
        for row in weights:
            row[:] = np.bincount(next(draws), minlength=num_users)
        yield weights
