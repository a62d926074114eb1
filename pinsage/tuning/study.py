"""A study: Optuna's memory of what was tried, in one SQLite file, and what is to be tried next.

Which settings come next depends on the seed and on what has been tried, not on the process: a
study that was killed, or that is given more trials later, goes on as if it had never stopped. A
trial that a killed process left running is marked failed, and its settings come first.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from pinsage.config import Config, changed
from pinsage.errors import AbandonedError, TrainingError
from pinsage.files import locked
from pinsage.tuning.space import Space, Values

State = Literal["complete", "pruned", "failed"]

_STARTUP = 5  # trials before one is pruned: the median of fewer says little
_WARM_UP = 2  # the first epoch that may prune: the learning rate is still rising in the one before
_ERROR, _SETTINGS, _EPOCHS, _SECONDS = "error", "settings", "epochs", "seconds"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """A finished trial. `value` is its score on validation; of a failed one there is none."""

    number: int
    state: State
    value: float | None
    settings: Values
    epochs: int
    seconds: float
    error: str


class Attempt:
    """A trial that is under way: its settings, and what it hears of its epochs."""

    def __init__(self, trial: Trial, settings: Values, config: Config) -> None:
        self.settings = settings
        self.config = config
        self._trial = trial

    @property
    def name(self) -> str:
        """What logs and MLflow call it; numbers begin at 1 and count killed ones."""
        return f"trial {self._trial.number + 1}"

    def after_epoch(self, epoch: int, score: float) -> None:
        """Tell of an epoch, from 1. Raises AbandonedError where it is below the median."""
        self._trial.set_user_attr(_EPOCHS, epoch)
        self._trial.report(score, epoch)
        if self._trial.should_prune():
            raise AbandonedError(f"{self.name}: below the median after epoch {epoch}")

    def recall(self, scores: Sequence[float]) -> None:
        """Tell of the epochs of a training that was found in the store."""
        for epoch, score in enumerate(scores, start=1):
            self._trial.report(score, epoch)


class Study:
    """Asks for settings and remembers what they reached. Made by `open_study`."""

    def __init__(self, study: optuna.Study, space: Space) -> None:
        self._study = study
        self._space = space

    def attempts(self, budget: int) -> Iterator[Attempt]:
        """Settings to try, until `budget` have been tried, those of earlier runs included.

        Each must be finished with `complete`, `prune` or `fail` before the next is asked for.
        """
        while (done := len(self.tried())) < budget:
            # A sampler anew for each trial, seeded by how many there were: nothing is held in
            # memory that a killed process could lose.
            self._study.sampler = optuna.samplers.TPESampler(seed=self._space.base.seed + done)
            trial = self._study.ask()
            settings = self._space.suggest(trial)
            trial.set_user_attr(_SETTINGS, settings)
            yield Attempt(trial, settings, changed(self._space.base, settings))

    def complete(self, attempt: Attempt, value: float, *, epochs: int, seconds: float) -> None:
        """The trial was trained to its end, and reached `value`."""
        attempt._trial.set_user_attr(_EPOCHS, epochs)
        self._finish(attempt, seconds, value=value)

    def prune(self, attempt: Attempt, *, seconds: float) -> None:
        """The trial was given up."""
        self._finish(attempt, seconds, state=TrialState.PRUNED)

    def fail(self, attempt: Attempt, error: Exception, *, seconds: float) -> None:
        """The settings cannot be trained with, e.g. the loss became infinite."""
        attempt._trial.set_user_attr(_ERROR, str(error))
        self._finish(attempt, seconds, state=TrialState.FAIL)

    def tried(self) -> list[Tried]:
        """Every finished trial in its order; without those that were killed, which come again."""
        finished = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        trials = self._study.get_trials(deepcopy=False, states=finished)
        return [_tried(trial) for trial in trials if not _was_killed(trial)]

    def best(self) -> Tried:
        """The trial with the highest value. Raises TrainingError where none was completed."""
        tried = self.tried()
        complete = [each for each in tried if each.state == "complete"]
        if not complete:
            reason = tried[-1].error if tried else "none was tried"
            raise TrainingError(
                f"none of {len(tried)} trials was trained to its end (the last: {reason}); mend "
                f"the configuration, or give more trials"
            )
        return max(complete, key=lambda each: each.value or 0.0)

    def _finish(self, attempt: Attempt, seconds: float, **told: Any) -> None:
        attempt._trial.set_user_attr(_SECONDS, round(seconds, 3))
        self._study.tell(attempt._trial, values=told.get("value"), state=told.get("state"))

    def _take_up_again(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            settings = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            _log.warning("trial %d was killed; its settings are tried again", trial.number + 1)
            self._study.tell(trial.number, state=TrialState.FAIL)
            self._study.enqueue_trial(settings)


@contextmanager
def open_study(file: Path, name: str, space: Space) -> Iterator[Study]:
    """Open or make the study `name` in a SQLite file; one process at a time, others wait."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with locked(file.with_suffix(".lock")):
        storage = optuna.storages.RDBStorage(f"sqlite:///{file.resolve()}")
        try:
            made = optuna.create_study(
                storage=storage,
                study_name=name,
                direction="maximize",
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(
                    n_startup_trials=_STARTUP, n_warmup_steps=_WARM_UP
                ),
            )
            if not made.get_trials(deepcopy=False):
                made.enqueue_trial(space.start())
            study = Study(made, space)
            study._take_up_again()
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()


def _was_killed(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.FAIL and _ERROR not in trial.user_attrs


def _tried(trial: FrozenTrial) -> Tried:
    states: dict[TrialState, State] = {
        TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed",
    }  # fmt: skip
    reports = trial.intermediate_values.values()
    value = trial.value if trial.state == TrialState.COMPLETE else max(reports, default=None)
    told = trial.user_attrs
    return Tried(
        number=trial.number + 1,
        state=states[trial.state],
        value=value,
        settings=told.get(_SETTINGS, {}),
        epochs=told.get(_EPOCHS, 0),
        seconds=told.get(_SECONDS, 0.0),
        error=told.get(_ERROR, ""),
    )
