"""Every verdict there is, word for word."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pinsage.report.inputs import Contract
from pinsage.report.verdict import Comparison, Track, judge_contract, overall

HIT = Comparison(
    period="Test", k=100, block=4, value=0.474, rival="Pixie", rival_value=0.433,
    lift=0.041, low=0.031, high=0.052, confidence=0.95,
)  # fmt: skip
MRR = replace(HIT, k=None, value=0.1234, rival_value=0.1024, lift=0.021, low=0.0105, high=0.0315)


def test_an_interval_above_zero_is_a_win() -> None:
    assert HIT.tone == "better"
    assert HIT.sentence() == (
        "PinSage finds the next item among its 100 nearest for 47.4 % of the pairs, 4.1 points "
        "more than the best baseline, Pixie (95 % interval 3.1 to 5.2)."
    )
    assert (HIT.metric, HIT.difference, HIT.interval) == (
        "hit-rate@100", "+4.1 points", "3.1 to 5.2",
    )  # fmt: skip


def test_an_interval_below_zero_is_a_loss_told_as_a_positive_amount() -> None:
    lost = replace(HIT, value=0.392, lift=-0.041, low=-0.052, high=-0.031)
    assert lost.tone == "worse"
    assert lost.sentence() == (
        "PinSage finds the next item among its 100 nearest for 39.2 % of the pairs, 4.1 points "
        "less than the best baseline, Pixie (95 % interval 3.1 to 5.2)."
    )
    assert (lost.difference, lost.interval) == ("−4.1 points", "−5.2 to −3.1")


@pytest.mark.parametrize(("low", "high"), [(-0.007, 0.009), (0.0, 0.01), (-0.01, 0.0)])
def test_an_interval_that_holds_zero_is_no_clear_difference(low: float, high: float) -> None:
    assert replace(HIT, lift=0.001, low=low, high=high).tone == "even"


def test_no_clear_difference_names_both_values_and_the_interval() -> None:
    even = replace(HIT, value=0.434, lift=0.001, low=-0.007, high=0.009)
    assert even.sentence() == (
        "PinSage finds the next item among its 100 nearest for 43.4 % of the pairs, no clear "
        "difference from the best baseline, Pixie at 43.3 % (difference +0.1 points, 95 % "
        "interval −0.7 to 0.9)."
    )


def test_without_an_interval_nothing_can_be_told() -> None:
    unknown = replace(HIT, low=math.nan, high=math.nan)
    assert unknown.tone == "unknown"
    assert unknown.sentence().endswith(
        "whether that is more or less than the best baseline, Pixie at 43.3 % cannot be told, "
        "because the difference has no interval (too few users)."
    )
    assert Track.of(unknown) is None


def test_without_a_baseline_the_verdict_says_so() -> None:
    alone = replace(HIT, rival=None, rival_value=math.nan, lift=math.nan)
    assert alone.tone == "unknown"
    assert alone.sentence().endswith("of the pairs; there is no baseline to compare it with.")
    assert alone.difference == "–"


def test_the_mrr_is_told_with_its_blocks_where_there_are_any() -> None:
    assert MRR.sentence() == (
        "PinSage’s mean reciprocal rank (in blocks of 4 ranks) is .123, .0210 above the best "
        "baseline, Pixie (95 % interval .0105 to .0315)."
    )
    plain = replace(MRR, block=1, lift=-0.021, low=-0.0315, high=-0.0105)
    assert plain.sentence() == (
        "PinSage’s mean reciprocal rank is .123, .0210 below the best baseline, Pixie (95 % "
        "interval .0105 to .0315)."
    )
    assert (MRR.metric, plain.metric) == ("MRR, blocks of 4", "MRR")


LOST = replace(MRR, lift=-0.02, low=-0.03, high=-0.01)
EVEN = replace(MRR, lift=0.0, low=-0.01, high=0.01)


@pytest.mark.parametrize(
    ("second", "tone", "label"),
    [
        (MRR, "better", "Better than every baseline at hit-rate@100 and MRR"),
        (EVEN, "better", "Better than every baseline at hit-rate@100, no clear difference at MRR"),
        (
            LOST,
            "even",
            "Better than every baseline at hit-rate@100, behind the best baseline at MRR",
        ),
    ],
)
def test_the_label_names_both_metrics_and_opposites_are_no_win(
    second: Comparison, tone: str, label: str
) -> None:
    assert overall(HIT, second) == (tone, label)


def test_a_loss_in_hit_rate_stays_a_loss_unless_the_mrr_is_won() -> None:
    lost = replace(HIT, lift=-0.04, low=-0.05, high=-0.03)
    assert overall(lost, EVEN)[0] == "worse"
    assert overall(lost, LOST)[0] == "worse"
    assert overall(lost, MRR)[0] == "even"


def test_a_track_has_zero_in_the_middle_and_holds_its_interval() -> None:
    track = Track.of(replace(HIT, lift=0.05, low=0.0, high=0.1))
    assert track is not None
    # The farther bound, 0.1, lies at 1/1.15 of the way from the middle to the end.
    assert (track.left, track.point) == (50.0, round(50 + 50 * 0.5 / 1.15, 2))
    assert track.left + track.width == pytest.approx(50 + 50 / 1.15, abs=0.01)


def test_a_track_of_no_difference_at_all_is_drawn_in_the_middle() -> None:
    track = Track.of(replace(HIT, lift=0.0, low=0.0, high=0.0))
    assert track is not None
    assert (track.left, track.width, track.point) == (50.0, 0.0, 50.0)


def outcome(column: str | None, success: bool) -> dict[str, Any]:
    return {"table": "items", "column": column, "success": success}


def test_a_contract_that_holds_is_kept() -> None:
    kept = judge_contract(Contract("Items", True, (outcome("a", True), outcome("b", True))))
    assert (kept.tone, kept.sentence) == ("better", "Contract kept: all 2 expectations hold.")
    assert judge_contract(Contract("Items", True, (outcome("a", True),))).sentence == (
        "Contract kept: its expectation holds."
    )


def test_a_tolerated_flaw_is_a_warning_that_names_its_column() -> None:
    warned = judge_contract(Contract("Items", True, (outcome("a", True), outcome("b", False))))
    assert warned.tone == "even"
    assert warned.sentence == (
        "Contract kept, with warnings: 1 of 2 expectations did not hold (items.b)."
    )


def test_a_broken_contract_names_three_columns_and_counts_the_rest() -> None:
    flaws = tuple(outcome(name, False) for name in ("a", "b", "c", "d", "e"))
    broken = judge_contract(Contract("Items", False, flaws))
    assert broken.tone == "worse"
    assert broken.sentence == (
        "Contract broken: 5 of 5 expectations did not hold (items.a, items.b, items.c and 2 more)."
    )


def test_a_contract_stopped_without_a_flaw_still_reads_as_broken() -> None:
    broken = judge_contract(Contract("Items", False, (outcome(None, True),)))
    assert broken.tone == "worse"
    assert "0 of 1 expectation did not hold (the gate stopped the run)" in broken.sentence
