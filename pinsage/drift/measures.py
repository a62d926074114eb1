"""Tonight beside the nights before: each measure with its reference, its bound and a verdict.

Volumes, newcomers, popularity and embeddings are held against the median of the trailing nights;
features against the oldest of them, so that a slow drift adds up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pinsage.config import DriftConfig, DriftGroup
from pinsage.drift.distances import aligned, psi
from pinsage.drift.night import Night

Verdict = Literal["ok", "warn", "block"]

VOLUMES = (
    "rows", "users", "items", "items in the catalog",
    "rows of the window", "users of the window", "items of the window",
)  # fmt: skip
NEW = ("share of new users", "share of new items")
POPULARITY = ("gini", "share of the top 1 %")
LENGTH, COSINE = "mean length", "mean cosine"


@dataclass(frozen=True)
class Measure:
    """One number of tonight beside what it was.

    Attributes:
        reference: what it was; for a feature 0, the PSI of no change
        drift: how far it is from that: relative, a difference, or a PSI; `bound` is the most that
            is borne
    """

    group: DriftGroup
    name: str
    reference: float
    value: float
    drift: float
    bound: float
    verdict: Verdict


def of_inputs(
    tonight: Night,
    counts: Mapping[str, Mapping[str, int]],
    before: Sequence[Night],
    policy: DriftConfig,
) -> list[Measure]:
    """Volumes, newcomers, popularity and features.

    `counts` are tonight's features as the oldest of `before` counts. With too few nights only
    features are looked at; without any, nothing.
    """
    enough = before if len(before) >= policy.least_nights else ()
    return [
        *_relative("volume", VOLUMES, tonight, enough, policy.volume, policy),
        *_difference("new", NEW, tonight, enough, policy.new, policy),
        *_difference("popularity", POPULARITY, tonight, enough, policy.popularity, policy),
        *(_features(tonight, counts, before[0], policy) if before else ()),
    ]


def of_embeddings(tonight: Night, before: Sequence[Night], policy: DriftConfig) -> list[Measure]:
    """The embeddings' mean length and the mean cosine of random pairs."""
    known = [night for night in before if LENGTH in night.numbers]
    enough = known if len(known) >= policy.least_nights else ()
    return [
        *_relative("embeddings", (LENGTH,), tonight, enough, policy.norm, policy),
        *_difference("embeddings", (COSINE,), tonight, enough, policy.cosine, policy),
    ]


def _relative(
    group: DriftGroup, names: Sequence[str], tonight: Night, before: Sequence[Night],
    bound: float, policy: DriftConfig,
) -> Iterator[Measure]:  # fmt: skip
    for name, reference, value in _both(names, tonight, before):
        drift = value / reference - 1.0 if reference else float(value != 0)
        yield _measure(group, name, reference, value, drift, bound, policy)


def _difference(
    group: DriftGroup, names: Sequence[str], tonight: Night, before: Sequence[Night],
    bound: float, policy: DriftConfig,
) -> Iterator[Measure]:  # fmt: skip
    for name, reference, value in _both(names, tonight, before):
        yield _measure(group, name, reference, value, value - reference, bound, policy)


def _both(
    names: Sequence[str], tonight: Night, before: Sequence[Night]
) -> Iterator[tuple[str, float, float]]:
    for name in names:
        past = [night.numbers[name] for night in before if name in night.numbers]
        if past:
            yield name, float(median(past)), float(tonight.numbers[name])


def _features(
    tonight: Night, counts: Mapping[str, Mapping[str, int]], reference: Night, policy: DriftConfig
) -> Iterator[Measure]:
    for name in sorted({*counts} & {*reference.counts}):
        drift = psi(*aligned(counts[name], reference.counts[name]))
        yield _measure("features", f"PSI of {name}", 0.0, drift, drift, policy.psi, policy)
    for name in sorted({*tonight.missing} & {*reference.missing}):
        was, now = reference.missing[name], tonight.missing[name]
        what = f"missing share of {name}"
        yield _measure("features", what, was, now, now - was, policy.missing, policy)


def _measure(
    group: DriftGroup, name: str, reference: float, value: float, drift: float, bound: float,
    policy: DriftConfig,
) -> Measure:  # fmt: skip
    verdict: Verdict = "ok"
    if abs(drift) > bound:
        verdict = "block" if group in policy.block else "warn"
    return Measure(group, name, reference, value, drift, bound, verdict)
