"""One number to choose by, of settings or epochs on validation pairs."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

from pinsage.config import ChooseBy

CHOICE_NAMES: Mapping[ChooseBy, str] = {
    "hit_rate": "hit-rate",
    "mrr": "MRR",
    "both": "√(hit-rate × MRR)",
}


def choice_score(choose_by: ChooseBy, hit_rate: float, mrr: float) -> float:
    """The hit-rate at the headline K, the MRR, or both: the root of their product.

    A gain of one per cent in either is then worth the same.
    """
    return {"hit_rate": hit_rate, "mrr": mrr, "both": sqrt(hit_rate * mrr)}[choose_by]
