"""The baselines, each at its best: their few settings are chosen on validation pairs only.

A weak baseline flatters the model, so what can be chosen is chosen the way the model's epoch is.
Every choice is recorded with the scores that decided it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from pinsage.config import EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines import (
    ItemKNNScorer,
    PixieScorer,
    PopularityScorer,
    RandomScorer,
    TransitionScorer,
)
from pinsage.evaluation.metrics import headline_k, hit_rate, usable_ks
from pinsage.evaluation.ranking import Scorer, rank_pairs
from pinsage.graph.bipartite import BipartiteGraph

SHRINKS = (0.0, 5.0, 20.0, 50.0, 100.0)
PIXIE_LENGTHS = (1, 2)
PIXIE_DAMPINGS = (0.0, 0.2, 0.4)
_PIXIE_RESTART = 0.5
_MOST_PAIRS = 20_000  # settles a choice to within half a point, in bounded time

Settings = Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """A baseline's settings, and their hit-rate on the pairs they were chosen on."""

    baseline: str
    settings: Settings
    hit_rate: float
    chosen: bool


@dataclass(frozen=True)
class Judge:
    """Scores a candidate on validation pairs: hit-rate at the headline K."""

    pairs: Pairs
    num_items: int
    k: int
    block: int

    @classmethod
    def of(cls, valid: Pairs, num_items: int, config: EvaluationConfig, seed: int) -> Judge:
        """Judge on a seeded sample of the pairs, so that its time is bounded."""
        order = np.random.default_rng(seed).permutation(len(valid.query_row))[:_MOST_PAIRS]
        sample = Pairs(
            user_row=valid.user_row[order],
            query_row=valid.query_row[order],
            positive_row=valid.positive_row[order],
        )
        return cls(sample, num_items, headline_k(usable_ks(config.ks, num_items)), config.block)

    def hit_rate(self, scorer: Scorer) -> float:
        """Hit-rate@K of a scorer; NaN without pairs."""
        query, positive = self.pairs.query_row, self.pairs.positive_row
        return hit_rate(rank_pairs(scorer, query, positive, self.num_items, self.block), self.k)


_Tuned = TypeVar("_Tuned", ItemKNNScorer, PixieScorer)


def build_baselines(
    graph: BipartiteGraph, train: Pairs, valid: Pairs, config: EvaluationConfig, seed: int
) -> tuple[list[Scorer], list[Trial]]:
    """All baselines over the training graph and pairs, tuned on `valid`, and how they were."""
    judge = Judge.of(valid, graph.num_items, config, seed)
    knn, knn_trials = _choose(judge, [ItemKNNScorer(graph, shrink) for shrink in SHRINKS])
    pixie, pixie_trials = _choose(
        judge,
        [
            PixieScorer(graph, config.pixie_walks, length, _PIXIE_RESTART, damping, seed)
            for length, damping in product(PIXIE_LENGTHS, PIXIE_DAMPINGS)
        ],
    )
    scorers: list[Scorer] = [
        RandomScorer(graph.num_items, seed),
        PopularityScorer(graph),
        knn,
        TransitionScorer.of(train.query_row, train.positive_row, knn),
        pixie,
    ]
    return scorers, knn_trials + pixie_trials


def _choose(judge: Judge, candidates: Sequence[_Tuned]) -> tuple[_Tuned, list[Trial]]:
    """The candidate with the highest hit-rate, the first of equals, and every one's trial."""
    scores = [judge.hit_rate(candidate) for candidate in candidates]
    best = int(np.nanargmax(scores))
    trials = [
        Trial(candidate.name, candidate.settings, score, chosen=number == best)
        for number, (candidate, score) in enumerate(zip(candidates, scores, strict=True))
    ]
    return candidates[best], trials
