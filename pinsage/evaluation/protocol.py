"""The evaluation protocol: all methods on the same pairs, full catalog, intervals over users.

Hit-rate and MRR follow PinSage §4.2. Ranking and counting are two steps, so that new slices or
resamples need no new ranks. All methods, slices and metrics share their resamples, so that any two
methods can be compared in pairs.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
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
from pinsage.evaluation.results import Beyond, Catalog, Estimates, Key, Results
from pinsage.evaluation.slices import ALL, Mask, Part, parts_of, time_edges

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

    def values(self, ranks: Ranks, part: Part) -> Iterator[tuple[str, PairValues]]:
        """Every metric of every pair, float64 [P] each; the curve on all pairs only."""
        for k in self.curve_ks if part == ALL else self.ks:
            yield f"hit_rate_{k}", hits(ranks, k)
        yield "mrr", reciprocal_ranks(ranks)
        yield "mrr_scaled", reciprocal_ranks(ranks, self.mrr_block)


def evaluate(
    scorers: Iterable[Scorer],
    pairs: Pairs,
    catalog: Catalog,
    *,
    config: EvaluationConfig,
    seed: int,
) -> Results:
    """Rank the pairs with every scorer, and summarise.

    Raises ContractError where there is no pair, and what `rank_pairs` raises.
    """
    rankings = rank_all(scorers, pairs, catalog.num_items, config.block)
    return summarise(rankings, pairs, catalog, config=config, seed=seed)


def rank_all(
    scorers: Iterable[Scorer], pairs: Pairs, num_items: int, block: int
) -> dict[str, Ranking]:
    """Ranks of all pairs by every scorer, under its name."""
    check_some(pairs)
    rankings = {}
    for scorer in scorers:
        start = time.monotonic()
        ranking = rank_queries(scorer, pairs.query_row, pairs.positive_row, num_items, block)
        rankings[scorer.name] = ranking
        seconds = time.monotonic() - start
        _log.info("%s: %d queries ranked in %.2f s", scorer.name, len(ranking.query_row), seconds)
    return rankings


def summarise(
    rankings: Mapping[str, Ranking],
    pairs: Pairs,
    catalog: Catalog,
    *,
    config: EvaluationConfig,
    seed: int,
) -> Results:
    """Metrics of all methods over all slices, with intervals.

    Raises ContractError where there is no pair.
    """
    check_some(pairs)
    plan = Plan.of(config, catalog.num_items)
    masks = parts_of(pairs, catalog.degree, catalog.categories)
    clusters = Clusters.of(pairs.user_row)
    sums: dict[Key, Array] = {}
    for method, ranking in rankings.items():
        sums |= _sums(method, ranking.ranks, plan, masks, clusters)
    return Results(
        methods=tuple(rankings),
        ks=plan.ks,
        curve_ks=plan.curve_ks,
        mrr_block=plan.mrr_block,
        num_items=catalog.num_items,
        num_users=clusters.num_users,
        num_queries=len(np.unique(pairs.query_row)),
        parts={part: int(mask.sum()) for part, mask in masks.items()},
        beyond={method: Beyond.of(ranking, catalog) for method, ranking in rankings.items()},
        time_edges=tuple(time_edges(pairs.time).tolist()) if len(pairs.time) else (),
        estimates=Estimates.of(
            sums,
            {part: clusters.sums(mask) for part, mask in masks.items()},
            resamples=config.bootstrap,
            confidence=config.confidence,
            seed=seed,
        ),
    )


def _sums(
    method: str, ranks: Ranks, plan: Plan, masks: Mapping[Part, Mask], clusters: Clusters
) -> dict[Key, Array]:
    return {
        Key(method, part, metric): clusters.sums(values * mask)
        for part, mask in masks.items()
        for metric, values in plan.values(ranks, part)
    }


def check_some(pairs: Pairs) -> None:
    """Raise ContractError where a period has no pair."""
    if len(pairs.query_row) == 0:
        raise ContractError(
            "pairs: expected at least one user who took two different items at different times in "
            "the period (found none); make it longer by split.train_share and split.valid_share"
        )
