"""Whether tonight's model replaces the one that readers follow, and what may stop a night."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pinsage.config.base import Settings
from pinsage.config.results import Baseline

DriftGroup = Literal["volume", "new", "features", "popularity", "embeddings"]


class DriftConfig(Settings):
    """Tonight's data and embeddings beside those of the nights before."""

    window_hours: int = Field(24, ge=1, le=24 * 366)
    """The newest part of the data whose volume is compared, in hours up to the newest
    interaction."""
    nights: int = Field(14, ge=1, le=1000)
    """Earlier nights whose median is compared with."""
    least_nights: int = Field(3, ge=1, le=1000)
    """With fewer earlier nights nothing is said of volumes, newcomers and popularity."""
    volume: float = Field(0.5, gt=0.0, le=10.0)
    """Largest relative change of a volume (0.5 is half as much again, or half gone)."""
    new: float = Field(0.25, gt=0.0, le=1.0)
    """Largest change of the share of new items or users, as a difference of shares."""
    psi: float = Field(0.25, gt=0.0, le=100.0)
    """Largest population stability index of a feature of the catalog; by custom .1 is worth a look
    and .25 is another population."""
    missing: float = Field(0.1, gt=0.0, le=1.0)
    """Largest change of the share of items without a value, as a difference of shares."""
    popularity: float = Field(0.1, gt=0.0, le=1.0)
    """Largest change of the Gini coefficient, and of the share of the 1 % most popular items."""
    norm: float = Field(0.25, gt=0.0, le=10.0)
    """Largest relative change of the embeddings' mean length."""
    cosine: float = Field(0.2, gt=0.0, le=2.0)
    """Largest change of the mean cosine of random pairs of items: the way to a collapse."""
    block: tuple[DriftGroup, ...] = ("volume",)
    """Measures that stop the night; the others are told."""
    override: bool = False
    """Go on in spite of a measure that stops the night. It is logged."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> DriftConfig:
        if self.least_nights > self.nights:
            raise ValueError(
                f"least_nights must be at most nights, else nothing is ever compared "
                f"(got {self.least_nights} and {self.nights})"
            )
        return self


class GateConfig(Settings):
    """Champion against challenger on the newest window: promote, refuse or ask."""

    metric: Literal["hit_rate", "mrr"] = "hit_rate"
    """What decides: the hit-rate at the headline K, or the MRR, of the test period. The other
    stands beside it."""
    margin: float = Field(0.01, gt=0.0, lt=1.0)
    """Relative loss against the champion that is borne: the lower bound of the change must lie
    above minus this."""
    regression: float = Field(0.03, gt=0.0, lt=1.0)
    """Relative loss that must be caught. Where there are too few users to tell it from a
    retraining of the same model, `undecided` says what then."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Level of the intervals (both sides)."""
    resamples: int = Field(2000, ge=100, le=1_000_000)
    """Bootstrap resamples of the users."""
    seed_noise: float = Field(0.004, ge=0.0, lt=1.0)
    """Relative standard deviation of the metric's change between two trainings that differ in their
    seed alone, beyond what intervals over users hold (MovieLens-100K: at most .4 %; an ablation
    with several seeds says it of other data). It widens the margin where that is needed."""
    undecided: Literal["ask", "promote", "refuse"] = "ask"
    """What to do where there are too few users to decide."""

    slice_floor: float = Field(0.1, gt=0.0, lt=1.0)
    """Relative loss that a slice (warm, rare and cold items; categories) may not surely have: its
    whole interval must not lie below minus this."""
    slice_pairs: int = Field(200, ge=1)
    """Least pairs of a slice that is looked at."""
    slice_users: int = Field(30, ge=2)
    """Least users of a slice that is looked at, and of a comparison that decides."""

    baseline: Baseline = "popularity"
    """What a model must not be significantly below, also on the first night; where it is not among
    `evaluation.baselines`, the first of those."""
    min_overlap: float = Field(0.1, ge=0.0, le=1.0)
    """Least overlap of an item's ten nearest with those of the published version; 0 does not
    look."""
    min_cosine: float = Field(0.0, ge=0.0, le=1.0)
    """Least mean cosine to the published version's embeddings after rotation onto them; 0 does not
    look."""

    approval: bool = False
    """A person is asked before what passes is promoted."""
    approval_hours: float = Field(12.0, gt=0.0, le=24.0 * 14)
    """Hours that a run of a worker waits for that person; then it counts as refused."""
    force: bool = False
    """Promote in spite of everything. It is recorded."""
    on_refusal: Literal["complete", "fail"] = "complete"
    """How a run ends whose version is refused, by the gate or by a person. It is published and
    recorded either way, and readers stay where they are; `fail` is for a team that is alarmed by
    failed runs."""
    drift: DriftConfig = DriftConfig()
    """Drift of inputs and embeddings."""

    @model_validator(mode="after")
    def _tells_apart(self) -> GateConfig:
        if self.regression <= self.margin:
            raise ValueError(
                f"regression must be above margin: what is borne cannot be caught "
                f"(got {self.regression} and {self.margin})"
            )
        return self


CHANGES_NO_VERDICT = frozenset({"approval_hours", "on_refusal"})
"""Settings of `GateConfig` that say how a run waits for the verdict and ends with it, not what it
is. They are in no stage's key, so that no stage may show them."""
