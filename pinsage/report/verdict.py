"""The verdict: what a comparison means, in one plain sentence. Pure functions of numbers.

PinSage is better or worse where the whole interval of the paired difference lies on one side of
zero; where the interval holds zero, the difference may be chance, and the sentence says so. The
rival is the baseline with the highest value in the same period, which favours the baselines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pinsage.report.evidence import HIT_RATE, MODEL, MRR_SCALED, Period
from pinsage.report.inputs import Contract
from pinsage.report.text import decimal, listed, one_line, percent, plural, points

Tone = Literal["better", "worse", "even", "unknown"]

_WORDS: dict[Tone, str] = {
    "better": "better than every baseline",
    "worse": "behind the best baseline",
    "even": "no clear difference",
    "unknown": "cannot be told",
}


@dataclass(frozen=True)
class Comparison:
    """PinSage beside the best baseline, on one metric of one period.

    Attributes:
        k: cut-off of a hit-rate, None for the scaled MRR
        block: ranks a block of the scaled MRR
        rival: the best baseline; None where there is none
        lift, low, high: PinSage minus the rival, with the interval of the paired bootstrap
    """

    period: str
    k: int | None
    block: int
    value: float
    rival: str | None
    rival_value: float
    lift: float
    low: float
    high: float
    confidence: float

    @classmethod
    def of(cls, period: Period, metric: str) -> Comparison:
        """On `hit_rate` at the headline K, or on `mrr_scaled`."""
        k = period.k if metric == HIT_RATE else None
        rival = period.best_baseline(metric, k)
        lift = period.lifts.get(metric if k is None else f"{metric}_{k}")
        return cls(
            period=period.title,
            k=k,
            block=period.mrr_block,
            value=period.get(MODEL, metric, k).value,
            rival=rival,
            rival_value=period.get(rival, metric, k).value if rival else math.nan,
            lift=lift.value if lift else math.nan,
            low=lift.low if lift else math.nan,
            high=lift.high if lift else math.nan,
            confidence=period.confidence,
        )

    @property
    def tone(self) -> Tone:
        """Which side of zero the interval lies on."""
        if self.rival is None or any(map(math.isnan, (self.lift, self.low, self.high))):
            return "unknown"
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "even"

    @property
    def metric(self) -> str:
        """`hit-rate@100`, or `MRR, blocks of 4`."""
        if self.k is not None:
            return f"hit-rate@{self.k}"
        return "MRR" if self.block == 1 else f"MRR, blocks of {self.block}"

    @property
    def difference(self) -> str:
        """The difference with its sign and unit: `+4.1 points`, `+.021`."""
        if math.isnan(self.lift):
            return "–"
        return f"{self._shown(self.lift, sign=True)}{' points' if self.k is not None else ''}"

    @property
    def interval(self) -> str:
        """`3.1 to 5.2`; bounds below zero carry their sign."""
        return f"{self._shown(self.low)} to {self._shown(self.high)}"

    def sentence(self) -> str:
        """The verdict in words."""
        return f"{self._finding()}{_ENDINGS[self.tone](self)}"

    def _finding(self) -> str:
        if self.k is not None:
            share = percent(self.value)
            return (
                f"{MODEL} finds the next item among its {self.k} nearest for {share} of the pairs"
            )
        blocks = "" if self.block == 1 else f" (in blocks of {self.block} ranks)"
        return f"{MODEL}’s mean reciprocal rank{blocks} is {decimal(self.value)}"

    def _shown(self, value: float, *, sign: bool = False) -> str:
        return points(value, sign=sign) if self.k is not None else decimal(value, sign=sign)

    def _level(self) -> str:
        return f"{100 * self.confidence:g} % interval"

    def _rival(self) -> str:
        value = percent(self.rival_value) if self.k is not None else decimal(self.rival_value)
        return f"the best baseline, {self.rival} at {value}"

    def _better(self) -> str:
        much = self._shown(self.lift)
        how = f"{much} points more than" if self.k is not None else f"{much} above"
        return f", {how} the best baseline, {self.rival} ({self._level()} {self.interval})."

    def _worse(self) -> str:
        # Told as a positive amount: "4.1 points fewer (3.1 to 5.2)" needs no minus to be read.
        much, least, most = (self._shown(-each) for each in (self.lift, self.high, self.low))
        how = f"{much} points less than" if self.k is not None else f"{much} below"
        return f", {how} the best baseline, {self.rival} ({self._level()} {least} to {most})."

    def _even(self) -> str:
        return (
            f", no clear difference from {self._rival()} (difference {self.difference}, "
            f"{self._level()} {self.interval})."
        )

    def _unknown(self) -> str:
        if self.rival is None:
            return "; there is no baseline to compare it with."
        return (
            f"; whether that is more or less than {self._rival()} cannot be told, because the "
            f"difference has no interval (too few users)."
        )


_ENDINGS = {
    "better": Comparison._better,
    "worse": Comparison._worse,
    "even": Comparison._even,
    "unknown": Comparison._unknown,
}


@dataclass(frozen=True)
class Track:
    """A comparison as a bar on a line whose middle is zero; positions in percent of its length."""

    comparison: Comparison
    left: float
    width: float
    point: float

    @classmethod
    def of(cls, comparison: Comparison) -> Track | None:
        """None where there is no interval to draw."""
        if comparison.tone == "unknown":
            return None
        reach = 1.15 * max(abs(comparison.low), abs(comparison.high), abs(comparison.lift)) or 1.0
        left, point, right = (
            round(50 + 50 * each / reach, 2)
            for each in (comparison.low, comparison.lift, comparison.high)
        )
        return cls(comparison, left, round(right - left, 2), point)


@dataclass(frozen=True)
class ContractVerdict:
    """A contract's outcome in a sentence; `flaws` are the expectations that did not hold."""

    name: str
    tone: Tone
    sentence: str
    flaws: tuple[Any, ...]


def judge_contract(contract: Contract) -> ContractVerdict:
    """`worse` where the run may not go on, `even` where something tolerated was found."""
    flaws = tuple(each for each in contract.expectations if not each["success"])
    total = len(contract.expectations)
    if contract.passed and not flaws:
        held = "its expectation holds" if total == 1 else f"all {total} expectations hold"
        return ContractVerdict(contract.name, "better", f"Contract kept: {held}.", flaws)
    where = _where(flaws)
    told = f"{len(flaws)} of {plural(total, 'expectation')}"
    if contract.passed:
        sentence = f"Contract kept, with warnings: {told} did not hold ({where})."
        return ContractVerdict(contract.name, "even", sentence, flaws)
    sentence = f"Contract broken: {told} did not hold ({where})."
    return ContractVerdict(contract.name, "worse", sentence, flaws)


def overall(first: Comparison, second: Comparison) -> tuple[Tone, str]:
    """The tone of both metrics together, and a label that names each where they differ.

    The first decides, unless the second says the opposite: then neither does.
    """
    opposite = {first.tone, second.tone} == {"better", "worse"}
    tone: Tone = "even" if opposite else first.tone
    label = f"{_WORDS[first.tone]} at {first.metric}"
    if second.tone != first.tone:
        label += f", {_WORDS[second.tone]} at MRR"
    else:
        label += " and MRR"
    return tone, label[0].upper() + label[1:]


def judge(period: Period) -> tuple[Comparison, Comparison]:
    """Hit-rate at the headline K, and the scaled MRR."""
    return Comparison.of(period, HIT_RATE), Comparison.of(period, MRR_SCALED)


def _where(flaws: Sequence[Any], most: int = 3) -> str:
    names = [".".join(p for p in (flaw["table"], flaw["column"]) if p) for flaw in flaws]
    distinct = [one_line(name, 60) for name in dict.fromkeys(names)]
    more = [f"{len(distinct) - most} more"] if len(distinct) > most else []
    return listed([*distinct[:most], *more]) or "the gate stopped the run"
