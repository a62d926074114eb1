"""How far two distributions of one feature are apart: the population stability index.

PSI = Σ (p − q) · ln(p / q) over bins, p of tonight and q of the reference: Jeffreys' divergence
(Jeffreys 1946), as credit scoring uses it (Siddiqi, Credit Risk Scorecards, 2006, ch. 9).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

_DECILES = np.arange(1, 10) / 10.0


def psi(now: Counts, before: Counts) -> float:
    """Of two histograms over the same bins; 0 where either is empty.

    Half a count is added to each bin of both, so that a bin which one of them lacks is a finite
    surprise, and the smaller the fewer were counted.
    """
    if not now.sum() or not before.sum():
        return 0.0
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (now, before))
    return float(((p - q) * np.log(p / q)).sum())


def deciles(values: Numbers) -> Numbers:
    """The distinct inner deciles of a column, ascending; at most 9, none without a value."""
    known = values[~np.isnan(values)]
    return np.unique(np.quantile(known, _DECILES)) if len(known) else np.empty(0)


def binned(values: Numbers, edges: Numbers) -> Counts:
    """How many values lie in each of the len(edges) + 1 bins; a value on an edge is below it."""
    known = values[~np.isnan(values)]
    places = np.searchsorted(edges, known, side="left")
    return np.bincount(places, minlength=len(edges) + 1).astype(np.int64)


def aligned(now: Mapping[str, int], before: Mapping[str, int]) -> tuple[Counts, Counts]:
    """Two counts by value as histograms over all their values."""
    values = sorted({*now, *before})
    first, second = (
        np.array([counts.get(value, 0) for value in values], dtype=np.int64)
        for counts in (now, before)
    )
    return first, second
