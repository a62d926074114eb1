"""Evidence that one can read: a challenger by its change, everything else in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pinsage.promotion.evidence import Change, Check, Comparison, Evidence, SliceChange, Stability

MakeEvidence = Callable[..., Evidence]


def change_of(
    value: float,
    error: float = 0.001,
    *,
    num_pairs: int = 100_000,
    num_users: int = 5000,
) -> Change:
    """A change of a hit-rate of .5, its interval two standard errors wide on either side."""
    low, high = value - 1.96 * error, value + 1.96 * error
    return Change("hit_rate_100", 0.5, 0.5 * (1 + value), value, low, high, error, num_pairs,
                  num_users)  # fmt: skip


@pytest.fixture(scope="session")
def make_evidence() -> MakeEvidence:
    """`make_evidence(value=-.02, error=.001, …)`: a change against champion v1, else all well."""

    def make(
        value: float | None = 0.0,
        error: float = 0.001,
        *,
        num_users: int = 5000,
        slices: tuple[SliceChange, ...] = (),
        against_baseline: Change | None = change_of(0.5),  # noqa: B008
        contract: Check = Check(passed=True, message="contract kept"),  # noqa: B008
        infra: Check = Check(passed=True, message="answers"),  # noqa: B008
        stability: Stability = Stability("v1", 0.6, 0.9),  # noqa: B008
        **others: Any,
    ) -> Evidence:
        primary = None if value is None else change_of(value, error, num_users=num_users)
        comparison = Comparison(
            champion="v1" if primary else "",
            no_champion="" if primary else "nothing else is published yet",
            is_same_model=others.get("is_same_model", False),
            primary=primary,
            beside=others.get("beside"),
            slices=slices,
            baseline="popularity",
            against_baseline=against_baseline,
        )
        return Evidence(comparison, contract, infra, stability)

    return make
