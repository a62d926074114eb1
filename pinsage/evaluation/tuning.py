"""The baselines, each at its best: their settings are chosen on validation pairs only.

A weak baseline flatters the model, so what can be chosen is chosen the way the model's epoch is:
by the same measure on validation, never on the test. All have the same budget of settings, and
every one that was tried is recorded with what decided.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pinsage.config import ChooseBy, EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ConfigError
from pinsage.evaluation.baselines.evidence import Evidence
from pinsage.evaluation.baselines.grids import GRIDS, Settings
from pinsage.evaluation.baselines.methods import METHODS, Bench, Build, TunedScorer, untuned
from pinsage.evaluation.baselines.packages import require_packages
from pinsage.evaluation.metrics import (
    choice_score,
    headline_k,
    hit_rate,
    mean_reciprocal_rank,
    usable_ks,
)
from pinsage.evaluation.ranking import Scorer, rank_pairs

MOST_PAIRS = 5_000  # settles a choice to within about half a point, in bounded time
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trial:
    """A baseline's settings, and their hit-rate and MRR on the pairs they were chosen on.

    `score` is which of the two decided, or what of both.
    `seconds` is what building and ranking took; settings that share a training share the one that
    the first of them paid for.
    """

    baseline: str
    settings: Settings
    hit_rate: float
    mrr: float
    score: float
    seconds: float
    chosen: bool


@dataclass(frozen=True)
class Judge:
    """Scores a candidate on validation pairs: hit-rate at the headline K, and MRR."""

    pairs: Pairs
    num_items: int
    k: int
    block: int
    choose_by: ChooseBy

    @classmethod
    def of(
        cls,
        valid: Pairs,
        num_items: int,
        config: EvaluationConfig,
        seed: int,
        choose_by: ChooseBy,
    ) -> Judge:
        """Judge on a seeded sample of the pairs, so that its time is bounded."""
        order = np.random.default_rng(seed).permutation(len(valid))[:MOST_PAIRS]
        k = headline_k(usable_ks(config.ks, num_items))
        return cls(valid.take(order), num_items, k, config.block, choose_by)

    def measure(self, scorer: Scorer) -> tuple[float, float, float]:
        """Hit-rate@K and MRR of a scorer, and which decides; NaN without pairs."""
        query, positive = self.pairs.query_row, self.pairs.positive_row
        ranks = rank_pairs(scorer, query, positive, self.num_items, self.block)
        rate, mrr = hit_rate(ranks, self.k), mean_reciprocal_rank(ranks)
        return rate, mrr, choice_score(self.choose_by, rate, mrr)


def build_baselines(
    evidence: Evidence,
    valid: Pairs,
    config: EvaluationConfig,
    choose_by: ChooseBy = "hit_rate",
) -> tuple[list[Scorer], list[Trial]]:
    """The configured baselines in their order, tuned on `valid`, and what was tried.

    content-kNN is left out, with a warning, where the catalog has no features. Raises
    MissingExtraError, before any work, where a package is missing, and ConfigError where no
    baseline is left.
    """
    require_packages(config)
    names = tuple(dict.fromkeys(config.baselines))
    judge = Judge.of(valid, evidence.graph.num_items, config, evidence.seed, choose_by)
    found = untuned(evidence)
    bench = Bench(evidence, config, found)
    trials: list[Trial] = []
    for name, prepare in METHODS.items():
        if name in names and (build := prepare(bench)) is not None:
            settings = GRIDS[name].take(config.trials, evidence.seed)
            found[name], tried = _tune(name, build, settings, judge)
            trials += tried
    _report_missing([name for name in names if name not in found], names)
    return [found[name] for name in names if name in found], trials


def _report_missing(missing: Sequence[str], names: Sequence[str]) -> None:
    if len(missing) == len(names):
        raise ConfigError(
            f"evaluation.baselines: {', '.join(names)} needs data.items.features, and there are "
            f"none; name another baseline, e.g. item-kNN"
        )
    for name in missing:
        _log.warning("%s is left out: the catalog has no columns in data.items.features", name)


def _tune(
    name: str, build: Build, settings: Sequence[Settings], judge: Judge
) -> tuple[TunedScorer, list[Trial]]:
    """The candidate with the highest score, the first of equals, and every one's trial."""
    candidates = (_try(name, build, each, judge) for each in settings)
    best, winner = next(candidates)
    trials = [winner]
    for scorer, trial in candidates:
        trials.append(trial)
        if trial.score > winner.score:
            best, winner = scorer, trial
    return best, [replace(trial, chosen=trial is winner) for trial in trials]


def _try(name: str, build: Build, settings: Settings, judge: Judge) -> tuple[TunedScorer, Trial]:
    start = time.monotonic()
    scorer = build(settings)
    rate, mrr, score = judge.measure(scorer)
    seconds = round(time.monotonic() - start, 3)
    shown = ", ".join(f"{key} {value}" for key, value in scorer.settings.items())
    _log.info(
        "%s (%s): hit-rate@%d %.4f, MRR %.4f in %.1f s", name, shown, judge.k, rate, mrr, seconds
    )
    return scorer, Trial(name, dict(scorer.settings), rate, mrr, score, seconds, chosen=False)
