"""How small a loss the users at hand can tell from a retraining of the same model.

With δ the relative change, se its standard error over users, and r the noise of retraining, a
retrained model has δ ~ N(0, se² + r²). "Promote where δ − z·se > −margin" refuses it more often
than 1 in 40 unless margin ≥ z·se + z₀·√(se² + r²), with z₀ = 1.96. Where the configured margin is
smaller than that, the margin is widened to it: what is refused is then what is worse than a
retraining is. A loss R is still caught in 39 of 40 as long as 2·z₀·√(se² + r²) ≤ R.

Both mistakes are held at 1 in 40, half of the 1 in 20 that the gate promises: se is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from pinsage.config import GateConfig

MISTAKE = 0.025
_Z = NormalDist().inv_cdf(1.0 - MISTAKE)
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Power:
    """What a comparison with a given standard error can tell.

    Attributes:
        error: se, of the relative change
        margin: what the lower bound must stay above, as a loss; the configured one or more
        is_widened: whether it is more
        is_enough: whether the regression to be caught is still caught
        smallest: the loss that is caught in 39 of 40
        refused: share of retrainings that the configured margin would refuse
    """

    error: float
    margin: float
    is_widened: bool
    is_enough: bool
    smallest: float
    refused: float

    @classmethod
    def of(cls, error: float, policy: GateConfig) -> Power:
        """From the standard error of the relative change; 0 where two models rank all alike."""
        bound = _NORMAL.inv_cdf(0.5 + policy.confidence / 2.0) * error
        noise = math.hypot(error, policy.seed_noise) if error > 0 else 0.0
        needed = bound + _Z * noise
        margin = max(policy.margin, needed)
        # δ below −(margin − bound) is refused.
        threshold = margin - bound
        return cls(
            error=error,
            margin=margin,
            is_widened=needed > policy.margin,
            is_enough=threshold + _Z * noise <= max(policy.regression, policy.margin),
            smallest=threshold + _Z * noise,
            refused=_NORMAL.cdf((bound - policy.margin) / noise) if noise > 0 else 0.0,
        )


def largest_error(policy: GateConfig, *, widened: bool) -> float:
    """The largest standard error with which both promises hold, without seed noise.

    `widened`: with the margin widened; else with the configured one.
    """
    if widened:
        return policy.regression / (2.0 * _Z)
    return policy.margin / (_NORMAL.inv_cdf(0.5 + policy.confidence / 2.0) + _Z)


def pairs_needed(
    error: float, *, hit_rate: float, changed: float, design: float = 1.0
) -> int:  # fmt: skip
    """Pairs that a standard error of the relative change of a hit-rate takes.

    `changed` is the share of pairs that are a hit of one model alone, `design` how many pairs of
    one user weigh as one: var(δ) = design · changed / (pairs · hit_rate²).
    """
    return math.ceil(design * changed / (hit_rate * error) ** 2)
