"""The evaluation protocol: all methods on the same pairs, full catalog, intervals over users.

Hit-rate and MRR follow PinSage §4.2; slices go by the positive's degree in training. All methods
and metrics share their resamples, so that any two methods can be compared in pairs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pinsage.config import EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ContractError
from pinsage.evaluation.bootstrap import Array, Clusters
from pinsage.evaluation.metrics import (
    PairValues,
    Ranks,
    fit_block,
    hits,
    reciprocal_ranks,
    usable_ks,
)
from pinsage.evaluation.ranking import Ranking, Scorer, rank_queries
from pinsage.evaluation.results import (
    ALL,
    Beyond,
    Degree,
    Estimates,
    Key,
    Mask,
    Results,
    slice_counts,
    slice_masks,
)

_CURVE_POINTS = 40
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is measured: the cut-offs of table and curve, and the block of the scaled MRR."""

    ks: tuple[int, ...]
    curve_ks: tuple[int, ...]
    mrr_block: int

    @classmethod
    def of(cls, config: EvaluationConfig, num_items: int) -> Plan:
        """Fit the configuration to a catalog. Raises ConfigError where no cut-off fits."""
        ks = usable_ks(config.ks, num_items)
        # At most the catalog, in equal steps of the logarithm; rounding merges the first ones.
        curve = np.geomspace(1, num_items - 1, _CURVE_POINTS).round().astype(int)
        curve_ks = tuple(sorted({*ks, *curve.tolist()}))
        return cls(ks, curve_ks, config.mrr_block or fit_block(num_items))

    def values(self, ranks: Ranks, part: str) -> dict[str, PairValues]:
        """Every metric of every pair, float64 [P] each; the curve on all pairs only."""
        cutoffs = self.curve_ks if part == ALL else self.ks
        return {
            **{f"hit_rate_{k}": hits(ranks, k) for k in cutoffs},
            "mrr": reciprocal_ranks(ranks),
            "mrr_scaled": reciprocal_ranks(ranks, self.mrr_block),
        }


def evaluate(
    scorers: Sequence[Scorer],
    pairs: Pairs,
    *,
    degree: Degree,
    config: EvaluationConfig,
    seed: int,
) -> Results:
    """Rank the pairs with every scorer; `degree` is int64 [N], of each item in training.

    Raises ContractError where there is no pair, and what `rank_pairs` raises.
    """
    _check_some(pairs)
    plan = Plan.of(config, len(degree))
    masks = slice_masks(degree[pairs.positive_row])
    clusters = Clusters.of(pairs.user_row)
    sums: dict[Key, Array] = {}
    beyond: dict[str, Beyond] = {}
    for scorer in scorers:
        ranking = _rank(scorer, pairs, len(degree), config.block)
        sums |= _user_sums(scorer.name, ranking.ranks, plan, masks, clusters)
        beyond[scorer.name] = Beyond.of(ranking, degree)
    return Results(
        methods=tuple(beyond),
        ks=plan.ks,
        curve_ks=plan.curve_ks,
        mrr_block=plan.mrr_block,
        num_items=len(degree),
        num_users=clusters.num,
        num_queries=len(np.unique(pairs.query_row)),
        slices={part: int(mask.sum()) for part, mask in masks.items()},
        beyond=beyond,
        estimates=Estimates.of(
            sums,
            slice_counts(masks, clusters),
            resamples=config.bootstrap,
            confidence=config.confidence,
            seed=seed,
        ),
    )


def _rank(scorer: Scorer, pairs: Pairs, num_items: int, block: int) -> Ranking:
    start = time.monotonic()
    ranking = rank_queries(scorer, pairs.query_row, pairs.positive_row, num_items, block)
    seconds = time.monotonic() - start
    _log.info("%s: %d queries ranked in %.2f s", scorer.name, len(ranking.query_row), seconds)
    return ranking


def _user_sums(
    method: str, ranks: Ranks, plan: Plan, masks: dict[str, Mask], clusters: Clusters
) -> dict[Key, Array]:
    return {
        Key(method, part, metric): clusters.sums(values * mask)
        for part, mask in masks.items()
        for metric, values in plan.values(ranks, part).items()
    }


def _check_some(pairs: Pairs) -> None:
    if len(pairs.query_row) == 0:
        raise ContractError(
            "pairs: expected at least one user who took two different items at different times in "
            "the period (found none); make it longer by split.train_share and split.valid_share"
        )
