"""Every baseline by name: how it is built from its settings.

Settings that differ only in how trained vectors are compared share one training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeVar

from pinsage.config import Baseline, EvaluationConfig
from pinsage.evaluation.baselines.content_knn import ContentKNNScorer
from pinsage.evaluation.baselines.counting import PopularityScorer, RandomScorer
from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.evaluation.baselines.evidence import Evidence
from pinsage.evaluation.baselines.factorisation import (
    als_factors,
    als_scorer,
    bpr_factors,
    bpr_scorer,
)
from pinsage.evaluation.baselines.grids import Settings
from pinsage.evaluation.baselines.item2vec import ItemVectors
from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.baselines.pixie import PixieScorer
from pinsage.evaluation.baselines.transitions import Steps, TransitionScorer
from pinsage.evaluation.ranking import Scorer

_PIXIE_RESTART = 0.5
_SHRINK = 20.0  # of item-kNN behind the transitions, where item-kNN itself is not asked for
_DIMENSION = 32


class TunedScorer(Scorer, Protocol):
    """A scorer that says what it was built with."""

    @property
    def settings(self) -> Settings:
        """What may be chosen: numbers and words."""


Build = Callable[[Settings], TunedScorer]
Trained = TypeVar("Trained")


@dataclass(frozen=True)
class Bench:
    """What methods are built on, and with.

    Attributes:
        chosen: the methods that were tuned before, by name
    """

    evidence: Evidence
    config: EvaluationConfig
    chosen: Mapping[str, Scorer] = field(default_factory=dict)


def untuned(evidence: Evidence) -> dict[str, Scorer]:
    """The baselines that have nothing to choose, by name."""
    every: tuple[Scorer, ...] = (
        RandomScorer(evidence.graph.num_items, evidence.seed),
        PopularityScorer(evidence.graph),
    )
    return {scorer.name: scorer for scorer in every}


def _item_knn(bench: Bench) -> Build:
    return lambda settings: ItemKNNScorer(bench.evidence.graph, **settings)


def _transitions(bench: Bench) -> Build:
    evidence, knn = bench.evidence, bench.chosen.get("item-kNN")
    if not isinstance(knn, ItemKNNScorer):
        knn = ItemKNNScorer(evidence.graph, _SHRINK)
    return _trained_once(
        lambda settings: Steps.of(evidence.pairs(**settings), evidence.graph.num_items),
        lambda steps, settings: TransitionScorer.of(steps, knn, settings),
        after="backward",
    )


def _pixie(bench: Bench) -> Build:
    evidence, walks = bench.evidence, bench.config.pixie_walks
    return lambda settings: PixieScorer(
        evidence.graph, walks=walks, restart=_PIXIE_RESTART, seed=evidence.seed, **settings
    )


def _ease(bench: Bench) -> Build:
    graph, most = bench.evidence.graph, bench.config.ease_items
    return lambda settings: EASEScorer.of(graph, max_items=most, **settings)


def _als(bench: Bench) -> Build:
    graph, seed = bench.evidence.graph, bench.evidence.seed
    return _trained_once(
        lambda settings: als_factors(graph, seed=seed, **settings),
        lambda factors, settings: als_scorer(graph, factors, settings),
        after="similarity",
    )


def _bpr(bench: Bench) -> Build:
    graph, seed = bench.evidence.graph, bench.evidence.seed
    return _trained_once(
        lambda settings: bpr_factors(graph, seed=seed, **settings),
        lambda factors, settings: bpr_scorer(graph, factors, settings),
        after="similarity",
    )


def _item2vec(bench: Bench) -> Build:
    evidence = bench.evidence
    return _trained_once(
        lambda settings: ItemVectors.train(
            evidence.sequences, dimension=_DIMENSION, seed=evidence.seed, **settings
        ),
        ItemVectors.scorer,
        after="match",
    )


def _trained_once(
    train: Callable[[Settings], Trained],
    compare: Callable[[Trained, Settings], TunedScorer],
    after: str,
) -> Build:
    """Train by all settings but `after`, which says how what was trained is compared."""

    @lru_cache(maxsize=1)
    def trained(settings: tuple[tuple[str, Any], ...]) -> Trained:
        return train(dict(settings))

    def build(settings: Settings) -> TunedScorer:
        before = tuple((name, value) for name, value in settings.items() if name != after)
        return compare(trained(before), settings)

    return build


def _content_knn(bench: Bench) -> Build | None:
    content = bench.evidence.content
    if content is None:
        return None
    return lambda settings: ContentKNNScorer.of(content, **settings)


# In the order in which they are tuned: transitions rest on the item-kNN that was chosen.
METHODS: Mapping[Baseline, Callable[[Bench], Build | None]] = {
    "item-kNN": _item_knn,
    "transitions": _transitions,
    "Pixie": _pixie,
    "EASE": _ease,
    "ALS": _als,
    "BPR": _bpr,
    "item2vec": _item2vec,
    "content-kNN": _content_knn,
}
