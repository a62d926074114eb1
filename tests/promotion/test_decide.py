"""The decision: what each rule does on its own, and what holds of any evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage.config import GateConfig
from pinsage.errors import ArtifactError
from pinsage.promotion.decide import Decision, decide
from pinsage.promotion.evidence import Change, Check, Comparison, Evidence, SliceChange, Stability
from pinsage.promotion.record import read_decision, to_markdown, write_decision

if TYPE_CHECKING:
    from pathlib import Path

    from tests.promotion.conftest import MakeEvidence

ORDER = {"refuse": 0, "ask": 1, "promote": 2}
POLICY = GateConfig(seed_noise=0.0)


def change(value: float, error: float, *, num_pairs: int = 5000, num_users: int = 500) -> Change:
    low, high = value - 1.96 * error, value + 1.96 * error
    return Change("hit_rate_100", 0.5, 0.5 * (1 + value), value, low, high, error, num_pairs,
                  num_users)  # fmt: skip


def outcome(decision: Decision, rule: str) -> str:
    (found,) = [reason.outcome for reason in decision.reasons if reason.rule == rule]
    return found


def failed(decision: Decision) -> set[str]:
    return {reason.rule for reason in decision.reasons if reason.outcome == "fails"}


class TestAgainstTheChampion:
    def test_the_same_model_is_promoted(self, make_evidence: MakeEvidence) -> None:
        assert decide(make_evidence(0.0, 0.0, is_same_model=True, num_users=3), POLICY).promote

    @pytest.mark.parametrize(
        ("value", "promoted"),
        # The lower bound is value − .196 %, and must lie above −1 %.
        [(0.02, True), (0.0, True), (-0.0079, True), (-0.0081, False), (-0.03, False)],
    )
    def test_with_many_users_the_lower_bound_must_lie_above_the_margin(
        self, make_evidence: MakeEvidence, value: float, promoted: bool
    ) -> None:
        decision = decide(make_evidence(value, 0.001), POLICY)
        assert decision.verdict == ("promote" if promoted else "refuse")
        assert failed(decision) == (set() if promoted else {"champion"})

    @pytest.mark.parametrize(("value", "promoted"), [(-0.0097, True), (-0.0099, False)])
    def test_with_fewer_users_what_is_worse_than_a_retraining_is_refused(
        self, make_evidence: MakeEvidence, value: float, promoted: bool
    ) -> None:
        # An error of .5 %: 1 in 40 retrainings is below −1.96 · .5 % = −.98 %.
        decision = decide(make_evidence(value, 0.005), POLICY)
        assert decision.promote == promoted
        assert "widened" in decision.reasons[0].text

    def test_the_reason_says_how_often_the_margin_would_refuse_a_retraining(
        self, make_evidence: MakeEvidence
    ) -> None:
        # δ < −1 % + 1.96 · .5 % = −.02 %, which is −.04 errors: 48 %.
        assert "would refuse 48%" in decide(make_evidence(-0.002, 0.005), POLICY).reasons[0].text

    @pytest.mark.parametrize("undecided", ["ask", "promote", "refuse"])
    def test_with_too_few_to_catch_a_regression_the_policy_says(
        self, make_evidence: MakeEvidence, undecided: Any
    ) -> None:
        # 2 · 1.96 · .8 % = 3.1 % could be caught, 3 % not.
        policy = POLICY.model_copy(update={"undecided": undecided})
        decision = decide(make_evidence(-0.005, 0.008), policy)
        assert decision.verdict == undecided
        assert outcome(decision, "champion") == "unsure"
        assert "one of 3.1% could" in decision.reasons[0].text

    def test_with_too_few_what_is_surely_worse_is_refused(
        self, make_evidence: MakeEvidence
    ) -> None:
        # The upper bound is −5 % + 1.96 · 1 % = −3 %.
        assert decide(make_evidence(-0.05, 0.01), POLICY).verdict == "refuse"

    def test_with_too_few_what_is_surely_no_worse_is_promoted(
        self, make_evidence: MakeEvidence
    ) -> None:
        assert decide(make_evidence(0.05, 0.01), POLICY).promote

    def test_29_users_decide_nothing(self, make_evidence: MakeEvidence) -> None:
        decision = decide(make_evidence(0.5, 0.0, num_users=29), POLICY)
        assert decision.verdict == "ask"

    def test_the_noise_of_seeds_widens_the_margin(self, make_evidence: MakeEvidence) -> None:
        # √(.1² + .6²) = .608 %, times 1.96 is 1.19 %.
        policy = GateConfig(seed_noise=0.006)
        assert decide(make_evidence(-0.0115, 0.001), policy).promote
        assert not decide(make_evidence(-0.0125, 0.001), policy).promote
        assert not decide(make_evidence(-0.0115, 0.001), POLICY).promote

    def test_a_first_night_is_for_floors_and_baselines(self, make_evidence: MakeEvidence) -> None:
        first = make_evidence(None, stability=Stability())
        decision = decide(first, POLICY)
        assert decision.promote
        assert "nothing else is published yet" in decision.reasons[0].text
        worse = make_evidence(None, against_baseline=change(-0.02, 0.001))
        assert failed(decide(worse, POLICY)) == {"baseline"}
        level = make_evidence(None, against_baseline=change(-0.02, 0.02))
        assert decide(level, POLICY).promote


class TestOtherRules:
    def test_a_slice_that_surely_breaks_its_floor_refuses(
        self, make_evidence: MakeEvidence
    ) -> None:
        cold = SliceChange("support", "cold", change(-0.3, 0.05))
        decision = decide(make_evidence(slices=(cold,)), POLICY)
        assert failed(decision) == {"slice support cold"}

    def test_a_slice_that_may_have_kept_its_floor_does_not(
        self, make_evidence: MakeEvidence
    ) -> None:
        # −30 % + 1.96 · 15 % is above −10 %.
        cold = SliceChange("support", "cold", change(-0.3, 0.15))
        assert decide(make_evidence(slices=(cold,)), POLICY).promote

    @pytest.mark.parametrize("few", [{"num_pairs": 199}, {"num_users": 29}])
    def test_a_small_slice_is_named_and_not_looked_at(
        self, make_evidence: MakeEvidence, few: dict[str, int]
    ) -> None:
        cold = SliceChange("support", "cold", change(-0.9, 0.0, **few))
        decision = decide(make_evidence(slices=(cold,)), POLICY)
        assert decision.promote
        assert any("support cold" in reason.text for reason in decision.reasons)

    @pytest.mark.parametrize("rule", ["contract", "infra"])
    def test_a_check_that_did_not_pass_refuses(
        self, make_evidence: MakeEvidence, rule: str
    ) -> None:
        broken = make_evidence(**{rule: Check(passed=False, message="no answer in 60 s")})
        decision = decide(broken, POLICY)
        assert failed(decision) == {rule}
        assert any(reason.text == "no answer in 60 s" for reason in decision.reasons)

    def test_the_band_of_stability(self, make_evidence: MakeEvidence) -> None:
        moved = make_evidence(stability=Stability("v1", 0.09, 0.5))
        assert failed(decide(moved, POLICY)) == {"overlap"}
        assert failed(decide(moved, GateConfig(min_overlap=0, min_cosine=0.6))) == {"cosine"}
        assert decide(moved, GateConfig(min_overlap=0)).promote

    def test_approval_asks_about_what_passes_alone(self, make_evidence: MakeEvidence) -> None:
        policy = GateConfig(approval=True)
        assert decide(make_evidence(), policy).verdict == "ask"
        assert decide(make_evidence(-0.03), policy).verdict == "refuse"

    def test_force_promotes_and_is_recorded_with_what_failed(
        self, make_evidence: MakeEvidence
    ) -> None:
        policy = GateConfig(force=True, approval=True)
        decision = decide(make_evidence(-0.03), policy)
        assert decision.promote
        assert decision.forced
        assert failed(decision) == {"champion"}
        assert "by force" in to_markdown(decision)
        assert not decide(make_evidence(), GateConfig(force=True)).forced


shifts = st.floats(-0.2, 0.2)
errors = st.sampled_from([0.0, 0.0005, 0.002, 0.005, 0.0075, 0.01, 0.05])
policies = st.builds(
    GateConfig,
    undecided=st.sampled_from(["ask", "promote", "refuse"]),
    approval=st.booleans(),
    force=st.booleans(),
    seed_noise=st.sampled_from([0.0, 0.003, 0.02]),
    confidence=st.sampled_from([0.8, 0.95]),
)


def raised(found: Change, by: float) -> Change:
    return replace(found, value=found.value + by, low=found.low + by, high=found.high + by,
                   new=found.new * (1 + by))  # fmt: skip


def better(evidence: Evidence, by: float) -> Evidence:
    """All numbers of the challenger higher, with the same errors."""
    was = evidence.comparison
    assert was.primary is not None
    assert was.against_baseline is not None
    comparison: Comparison = replace(
        was,
        primary=raised(was.primary, by),
        against_baseline=raised(was.against_baseline, by),
        slices=tuple(replace(each, change=raised(each.change, by)) for each in was.slices),
    )
    return replace(evidence, comparison=comparison)


@given(shifts, errors, shifts, errors, shifts, st.floats(0, 0.3), policies)
def test_a_better_challenger_never_fares_worse(
    make_evidence: MakeEvidence,
    value: float,
    error: float,
    in_slice: float,
    slice_error: float,
    to_baseline: float,
    by: float,
    policy: GateConfig,
) -> None:
    evidence = make_evidence(
        value,
        error,
        slices=(SliceChange("support", "warm", change(in_slice, slice_error)),),
        against_baseline=change(to_baseline, 0.01),
    )
    now = decide(evidence, policy)
    then = decide(better(evidence, by), policy)
    assert ORDER[then.verdict] >= ORDER[now.verdict]


@given(shifts, errors, st.booleans(), st.booleans(), policies)
def test_a_verdict_has_its_reason_and_survives_json(
    make_evidence: MakeEvidence,
    value: float,
    error: float,
    contract: bool,
    infra: bool,
    policy: GateConfig,
) -> None:
    evidence = make_evidence(
        value,
        error,
        contract=Check(passed=contract, message="contract"),
        infra=Check(passed=infra, message="infra"),
        beside=change(value, error),
    )
    decision = decide(evidence, policy)
    outcomes = {reason.outcome for reason in decision.reasons}
    assert {"champion", "beside", "baseline", "contract", "infra", "overlap", "cosine"} <= {
        reason.rule for reason in decision.reasons
    }
    assert (decision.verdict == "refuse") <= bool(outcomes & {"fails", "unsure"})
    assert (decision.verdict == "ask") <= ("unsure" in outcomes or policy.approval)
    assert ("fails" in outcomes) <= (decision.verdict == "refuse" or decision.forced)
    assert all("\n" not in reason.text for reason in decision.reasons)
    assert Decision.from_json(json.loads(json.dumps(decision.to_json()))) == decision


def test_a_decision_on_disk_is_read_back(make_evidence: MakeEvidence, tmp_path: Path) -> None:
    decision = decide(make_evidence(-0.03), POLICY)
    facts = write_decision(decision, tmp_path)
    assert read_decision(tmp_path) == decision
    assert facts["verdict"] == "refuse"
    assert facts["failed"] == ["champion"]
    (tmp_path / "decision.json").write_text('{"verdict": "promote"}')
    with pytest.raises(ArtifactError, match="decide again"):
        read_decision(tmp_path)


def test_a_category_cannot_write_into_the_page(make_evidence: MakeEvidence) -> None:
    evil = SliceChange("genre", "<script>|[x](javascript:0)\n", change(-0.5, 0.01))
    page = to_markdown(decide(make_evidence(slices=(evil,)), POLICY))
    assert "<script>" not in page
    assert "[x]" not in page
    assert len(page.splitlines()) == 2 + len(decide(make_evidence(slices=(evil,)), POLICY).reasons)
