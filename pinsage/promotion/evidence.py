"""What a decision rests on: numbers and checks, JSON in and out, no path and no model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from pinsage.errors import ArtifactError


@dataclass(frozen=True)
class Change:
    """A metric of a challenger beside another's on the same pairs.

    Attributes:
        metric: `hit_rate_<K>` or `mrr`
        old, new: the metric of the other, and of the challenger
        value, low, high: relative change new / old − 1, with the bounds of its interval
        error: its standard error over users
    """

    metric: str
    old: float
    new: float
    value: float
    low: float
    high: float
    error: float
    num_pairs: int
    num_users: int


@dataclass(frozen=True)
class SliceChange:
    """The change within one slice of the test period."""

    dimension: str
    label: str
    change: Change


@dataclass(frozen=True)
class Comparison:
    """What the ranks say.

    Attributes:
        champion: the published version compared with; empty without a comparison
        no_champion: why there is none; empty where there is
        is_same_model: whether champion and challenger are one model
        primary: change of the deciding metric; None without a comparison
        beside: change of the other metric
        slices: changes of the deciding metric in all slices that have a pair and a value
        baseline: the method that must not be significantly better
        against_baseline: change of the deciding metric against it; None where it finds nothing
    """

    champion: str
    no_champion: str
    is_same_model: bool
    primary: Change | None
    beside: Change | None
    slices: tuple[SliceChange, ...]
    baseline: str
    against_baseline: Change | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Comparison:
        """Inverse of `to_json`. Raises ArtifactError where something else was written."""
        try:
            changes = {
                name: tree[name] and Change(**tree[name])
                for name in ("primary", "beside", "against_baseline")
            }
            slices = tuple(
                SliceChange(each["dimension"], each["label"], Change(**each["change"]))
                for each in tree["slices"]
            )
            return cls(**{**tree, **changes, "slices": slices})
        except (TypeError, KeyError, AttributeError) as error:
            raise ArtifactError(f"not a comparison ({error!r}); compare again") from None


@dataclass(frozen=True)
class Check:
    """A check that others made: whether it passed, and what it found."""

    passed: bool
    message: str


@dataclass(frozen=True)
class Stability:
    """How far the embeddings are from those published before.

    Attributes:
        version: the one compared with; empty where there is none
        overlap: mean share of an item's ten nearest that stay, 0 to 1; None where not measured
        cosine: mean cosine of shared items after rotation onto the old; None likewise
    """

    version: str = ""
    overlap: float | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class Evidence:
    """All that is known when it is decided.

    Attributes:
        contract: of the embeddings
        infra: the packaged model loads and answers in a fresh process
    """

    comparison: Comparison
    contract: Check
    infra: Check
    stability: Stability = Stability()

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Evidence:
        """Inverse of `to_json`. Raises ArtifactError where something else was written."""
        try:
            return cls(
                comparison=Comparison.from_json(cast("Mapping[str, Any]", tree["comparison"])),
                contract=Check(**tree["contract"]),
                infra=Check(**tree["infra"]),
                stability=Stability(**tree["stability"]),
            )
        except (TypeError, KeyError) as error:
            raise ArtifactError(f"not evidence of a gate ({error!r}); decide again") from None
