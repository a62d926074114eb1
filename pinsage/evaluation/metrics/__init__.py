"""Metrics, one a file with its definition and citation.

Of single pairs: hit-rate and reciprocal rank, as functions of the positives' ranks, and what of
the two settings are chosen by. Of lists: coverage, Gini, novelty and intra-list distance.
"""

from pinsage.evaluation.metrics.choice import CHOICE_NAMES, choice_score
from pinsage.evaluation.metrics.coverage import coverage
from pinsage.evaluation.metrics.cutoffs import (
    headline_k,
    headline_metric,
    metric_label,
    usable_ks,
)
from pinsage.evaluation.metrics.diversity import intra_list_distance
from pinsage.evaluation.metrics.gini import gini
from pinsage.evaluation.metrics.hit_rate import hit_rate, hits
from pinsage.evaluation.metrics.novelty import novelty
from pinsage.evaluation.metrics.pair_values import PairValues, Ranks
from pinsage.evaluation.metrics.reciprocal_rank import (
    fit_block,
    mean_reciprocal_rank,
    reciprocal_ranks,
)

__all__ = [
    "CHOICE_NAMES",
    "PairValues",
    "Ranks",
    "choice_score",
    "coverage",
    "fit_block",
    "gini",
    "headline_k",
    "headline_metric",
    "hit_rate",
    "hits",
    "intra_list_distance",
    "mean_reciprocal_rank",
    "metric_label",
    "novelty",
    "reciprocal_ranks",
    "usable_ks",
]
