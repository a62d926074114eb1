"""The gate: evidence and policy in, a verdict with its reasons out. Pure: same in, same out.

    promote   readers follow the new version
    refuse    they stay where they are
    ask       a person decides: approval is wanted, or the users are too few to tell

Invariant: raising a challenger's numbers, all else alike, never makes the verdict worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pinsage.config import CHANGES_NO_VERDICT, GateConfig
from pinsage.errors import ArtifactError
from pinsage.evaluation.metrics import metric_label
from pinsage.promotion.evidence import Change, Check, Comparison, Evidence, Stability
from pinsage.promotion.power import Power

Verdict = Literal["promote", "refuse", "ask"]
Outcome = Literal["holds", "fails", "unsure", "note"]


class Reason(NamedTuple):
    """One rule: how it came out, and its numbers in one line."""

    rule: str
    outcome: Outcome
    text: str


@dataclass(frozen=True)
class Decision:
    """A verdict, and why.

    Attributes:
        forced: promoted in spite of what the rules say
        reasons: every rule that was looked at, in a fixed order
        evidence, policy: what it was decided on
    """

    verdict: Verdict
    forced: bool
    reasons: tuple[Reason, ...]
    evidence: Evidence
    policy: GateConfig

    @property
    def promote(self) -> bool:
        """Whether readers are to follow the new version."""
        return self.verdict == "promote"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "verdict": self.verdict,
            "forced": self.forced,
            "reasons": [reason._asdict() for reason in self.reasons],
            "evidence": self.evidence.to_json(),
            "policy": self.policy.model_dump(mode="json", exclude=set(CHANGES_NO_VERDICT)),
        }

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Decision:
        """Inverse of `to_json`. Raises ArtifactError where something else was written."""
        try:
            return cls(
                verdict=tree["verdict"],
                forced=tree["forced"],
                reasons=tuple(Reason(**reason) for reason in tree["reasons"]),
                evidence=Evidence.from_json(tree["evidence"]),
                policy=GateConfig.model_validate(tree["policy"]),
            )
        except (TypeError, KeyError, ValueError) as error:
            raise ArtifactError(f"not a decision ({error!r}); decide again") from None


def decide(evidence: Evidence, policy: GateConfig) -> Decision:
    """Promote, refuse or ask.

    Whatever fails refuses, unless forced; what is unsure does what `policy.undecided` says; then
    `policy.approval` asks about what would be promoted.
    """
    reasons = tuple(_reasons(evidence, policy))
    verdict = _verdict({reason.outcome for reason in reasons}, policy)
    forced = policy.force and verdict != "promote"
    return Decision("promote" if forced else verdict, forced, reasons, evidence, policy)


def _verdict(outcomes: set[Outcome], policy: GateConfig) -> Verdict:
    if "fails" in outcomes:
        return "refuse"
    if "unsure" in outcomes and policy.undecided != "promote":
        return policy.undecided
    return "ask" if policy.approval else "promote"


def _reasons(evidence: Evidence, policy: GateConfig) -> Iterator[Reason]:
    comparison = evidence.comparison
    yield _against_champion(comparison, policy)
    if comparison.beside is not None:
        yield Reason("beside", "note", f"{_told(comparison.beside)} against the champion")
    yield from _slices(comparison, policy)
    yield _against_baseline(comparison)
    yield _check("contract", evidence.contract)
    yield from _stability(evidence.stability, policy)
    yield _check("infra", evidence.infra)


def _against_champion(comparison: Comparison, policy: GateConfig) -> Reason:
    change = comparison.primary
    if change is None:
        return Reason(
            "champion", "note",
            f"not compared with a champion: {comparison.no_champion}; floors and baselines decide",
        )  # fmt: skip
    told = f"{_told(change)} against {comparison.champion}"
    if comparison.is_same_model:
        told += ", the same model"
    elif change.num_users < policy.slice_users:
        return Reason(
            "champion", "unsure",
            f"{told}: {change.num_users} users are too few, {policy.slice_users} are wanted",
        )  # fmt: skip
    power = Power.of(change.error, policy)
    if change.low > -policy.margin:
        return Reason("champion", "holds", f"{told}; the lower bound is above {_loss(policy)}")
    if not power.is_enough and change.high >= -policy.margin:
        return Reason(
            "champion", "unsure",
            f"{told}: a loss of {policy.regression:.1%} cannot be told from a retraining by "
            f"{change.num_users:,} users with {change.num_pairs:,} pairs; one of "
            f"{power.smallest:.1%} could",
        )  # fmt: skip
    if not power.is_enough:
        return Reason(
            "champion", "fails", f"{told}; even the upper bound is below {_loss(policy)}"
        )  # fmt: skip
    if power.is_widened:
        bound = (
            f"−{power.margin:.2%}, widened from {_loss(policy)}, which would refuse "
            f"{power.refused:.0%} of all retrainings of the same model on so few users"
        )
    else:
        bound = _loss(policy)
    if change.low > -power.margin:
        return Reason("champion", "holds", f"{told}; the lower bound is above {bound}")
    return Reason("champion", "fails", f"{told}; the lower bound is not above {bound}")


def _slices(comparison: Comparison, policy: GateConfig) -> Iterator[Reason]:
    small, held = [], []
    for each in comparison.slices:
        if each.dimension == "all":
            continue
        change, name = each.change, f"{each.dimension} {each.label}"
        if change.num_pairs < policy.slice_pairs or change.num_users < policy.slice_users:
            small.append(name)
        elif change.high < -policy.slice_floor:
            yield Reason(
                f"slice {name}", "fails",
                f"{_told(change)} in {name}; its whole interval is below "
                f"−{policy.slice_floor:.1%}",
            )  # fmt: skip
        else:
            held.append((change.value, name))
    if held:
        worst, name = min(held)
        yield Reason(
            "slices", "holds",
            f"{len(held)} slices do not surely lose more than {policy.slice_floor:.1%}; the lowest "
            f"is {name} with {worst:+.2%}",
        )  # fmt: skip
    if small:
        yield Reason(
            "small slices", "note",
            f"not looked at, with fewer than {policy.slice_pairs:,} pairs or {policy.slice_users} "
            f"users: {', '.join(small)}",
        )  # fmt: skip


def _against_baseline(comparison: Comparison) -> Reason:
    change, name = comparison.against_baseline, comparison.baseline
    if change is None:
        return Reason("baseline", "holds", f"{name} finds no pair of the window")
    told = f"{_told(change)} against {name}"
    if change.high < 0:
        return Reason("baseline", "fails", f"{told}: it is significantly below")
    return Reason("baseline", "holds", f"{told}: it is not significantly below")


def _check(rule: str, check: Check) -> Reason:
    return Reason(rule, "holds" if check.passed else "fails", check.message)


def _stability(found: Stability, policy: GateConfig) -> Iterator[Reason]:
    rows = (
        ("overlap", found.overlap, policy.min_overlap, "of an item's ten nearest stay"),
        ("cosine", found.cosine, policy.min_cosine, "is the mean cosine after rotation"),
    )
    for name, value, least, what in rows:
        if value is None:
            why = "there is no version before" if not found.version else "it was not measured"
            yield Reason(name, "note", f"not looked at: {why}")
        elif value < least:
            yield Reason(name, "fails", f"{value:.3f} {what} ({found.version}), below {least:g}")
        else:
            bound = f"at least {least:g}" if least else "no bound is set"
            yield Reason(name, "holds", f"{value:.3f} {what} ({found.version}), {bound}")


def _told(change: Change) -> str:
    return (
        f"{metric_label(change.metric)} {change.new:.4f} instead of {change.old:.4f}, "
        f"{change.value:+.2%} ({change.low:+.2%} to {change.high:+.2%})"
    )


def _loss(policy: GateConfig) -> str:
    return f"−{policy.margin:.1%}"
