"""One trial: train with its settings, on the training and validation periods alone."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pinsage import stages
from pinsage.errors import AbandonedError, TrainingError
from pinsage.evaluation.metrics import headline_metric, usable_ks
from pinsage.store import Artifact, Store
from pinsage.tuning.study import Attempt, State, Study

if TYPE_CHECKING:
    from pinsage.training.loop import EpochReport


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: the `train` artifact and its score, where it was trained to its end."""

    state: State
    score: float | None
    trained: Artifact | None
    seconds: float
    reason: str = ""

    @property
    def note(self) -> str:
        """In a few words."""
        return f"score {self.score:.4f}" if self.score is not None else self.reason


def run_attempt(
    study: Study,
    attempt: Attempt,
    store: Store,
    parts: Artifact,
    built: Artifact,
    on_epoch: Callable[[EpochReport], None] = lambda _: None,
) -> Outcome:
    """Train with an attempt's settings and tell the study what came of it.

    The score is what `training.choose_by` names, on validation, of the epoch that is chosen. A
    trial that is pruned leaves nothing in the store; settings that cannot be trained with count as
    tried. Any other exception leaves the trial to be tried again.
    """
    config, started = attempt.config, time.monotonic()
    headline = headline_metric(usable_ks(config.evaluation.ks, int(parts.facts["num_items"])))
    metric = config.training.choosing_metric(headline)

    def after_epoch(report: EpochReport) -> None:
        on_epoch(report)
        attempt.after_epoch(report.epoch, report.metrics[metric])

    try:
        table = stages.neighbourhoods(config, store, built, parts)
        trained = stages.train(config, store, parts, built, table, on_epoch=after_epoch)
    except AbandonedError as reason:
        seconds = time.monotonic() - started
        study.prune(attempt, seconds=seconds)
        return Outcome("pruned", None, None, seconds, str(reason))
    except TrainingError as error:
        seconds = time.monotonic() - started
        study.fail(attempt, error, seconds=seconds)
        return Outcome("failed", None, None, seconds, str(error))
    if trained.reused:
        reports = json.loads(trained.file("history.json").read_text())
        attempt.recall([report["metrics"][metric] for report in reports])
    score, seconds = float(trained.facts[f"best_{metric}"]), trained.manifest.seconds
    study.complete(attempt, score, epochs=int(trained.facts["epochs"]), seconds=seconds)
    return Outcome("complete", score, trained, seconds)
