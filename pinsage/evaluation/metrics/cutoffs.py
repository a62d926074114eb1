"""Which cut-offs K fit a catalog, which of them decides, and what people call them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from pinsage.errors import ConfigError

_HEADLINE = 100
_log = logging.getLogger(__name__)


def usable_ks(ks: Sequence[int], num_items: int) -> tuple[int, ...]:
    """The distinct cut-offs below the catalog's size, ascending; the others are logged.

    Raises ConfigError where none is left.
    """
    usable = tuple(sorted({k for k in ks if k < num_items}))
    dropped = sorted(set(ks) - set(usable))
    if dropped:
        _log.warning("hit-rate@K is 1 by definition in %d items for K = %s: left out",
                     num_items, ", ".join(map(str, dropped)))  # fmt: skip
    if not usable:
        raise ConfigError(
            f"evaluation.ks: every cut-off is as large as the catalog of {num_items} items "
            f"(got {list(ks)}); add a smaller one"
        )
    return usable


def headline_k(ks: Sequence[int]) -> int:
    """The cut-off that choices are made on: the largest up to 100, else the smallest."""
    return max((k for k in ks if k <= _HEADLINE), default=min(ks))


def metric_label(metric: str) -> str:
    """`hit_rate_10` as people write it: HR@10."""
    if metric.startswith("hit_rate_"):
        return f"HR@{metric.removeprefix('hit_rate_')}"
    names = {"mrr": "MRR", "mrr_scaled": "MRR scaled", "geometric_mean": "√(HR · MRR)"}
    return names.get(metric, metric)


def headline_metric(ks: Sequence[int]) -> str:
    """The name of the hit-rate at that cut-off: `hit_rate_<K>`."""
    return f"hit_rate_{headline_k(ks)}"
