"""Flow: settings of PinSage and of every baseline, chosen on validation with one budget.

The study lies in a SQLite file: a killed tuning goes on where it was, and a finished one with a
larger budget continues. The test period is not read.
"""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows import artifacts, remedy, stages, upstream
from flows.session import Run, session
from flows.stages import DAY, HOUR, Data
from pinsage.config import Config
from pinsage.store import Artifact
from pinsage.tuning import stages as tuning
from pinsage.tuning.outcome import PROFILE, TABLE
from pinsage.tuning.space import Space
from pinsage.tuning.study import Attempt, Study
from pinsage.tuning.trial import Outcome, run_attempt


@flow(
    name="tune",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def tune(
    config: Config, trials: Annotated[int, Field(ge=1)] = 30, only: list[str] | None = None
) -> Artifact:
    """Choose settings on validation; returns the profile with the best, and the tables.

    Args:
        config: What to start from; its own settings are the first trial.
        trials: Settings to try of PinSage, and at most as many of each baseline.
        only: Settings of PinSage to choose, e.g. training.learning_rate; left empty, all.
    """
    space = Space.of(config, only or ())
    with session(config, "tune") as run:
        upstream.can_evaluate(run)
        data = upstream.data(run)
        built = stages.graph(run, data, "train")
        baselines = tune_baselines(run, data, built, trials)
        with tuning.study_of(space, run.store, data.parts) as study:
            for attempt in study.attempts(trials):
                try_settings(run, data, built, study, attempt)
            return conclude(run, space, study, baselines)


@task(
    name="tune-baselines",
    task_run_name="tune-baselines",
    cache_policy=NO_CACHE,
    timeout_seconds=DAY,
)
def tune_baselines(run: Run, data: Data, built: Artifact, trials: int) -> Artifact:
    """Try settings of every baseline; a nested MLflow run each."""
    with run.stage("tune-baselines") as record:
        tuned = record.keep(tuning.tune_baselines(run.config, run.store, data.parts, built, trials))
    for number, trial in enumerate(tuning.read_baselines(tuned), start=1):
        with run.tracker.stage(f"{trial.baseline}, {number}") as tracked:
            chosen = {"chosen": str(trial.chosen).lower()}
            tracked.trial(trial.baseline, trial.settings, trial.score, chosen)
    return tuned


@task(task_run_name="{attempt.name}", tags=["gpu"], cache_policy=NO_CACHE, timeout_seconds=3 * DAY)
def try_settings(run: Run, data: Data, built: Artifact, study: Study, attempt: Attempt) -> Outcome:
    """Train with one choice of settings, and give it up early where it is worse than most."""
    with run.stage(attempt.name, has_bar=True) as record:
        outcome = run_attempt(
            study, attempt, run.store, data.parts, built, on_epoch=record.tracked.epoch
        )
        record.keep_attempt(attempt.settings, outcome)
        return outcome


@task(name="conclude", task_run_name="conclude", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def conclude(run: Run, space: Space, study: Study, baselines: Artifact) -> Artifact:
    """The best settings as a profile, the table and the history: the run's own."""
    with run.stage("conclude") as record:
        concluded = record.keep(
            tuning.conclude(space, run.store, study.tried(), study.best(), baselines)
        )
        run.tracker.parent.files(concluded)
        profile = concluded.file(PROFILE).read_text(encoding="utf-8")
        run.tracker.parent.text(PROFILE, profile)  # to be laid over, or compared
        run.tracker.parent.describe(concluded.file(TABLE).read_text(encoding="utf-8"))
        artifacts.show_tuning(concluded)
        return concluded
