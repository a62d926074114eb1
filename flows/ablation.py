"""Flow: what each idea of the paper is worth on these data (its Table 1, and its scaling tables).

Every training is an artifact of the store: a killed ablation goes on where it was, and what does
not depend on a row's change (data, split, graph, neighbourhoods of one size) is made once. The
walks keep the base's seed, so that seeds differ by their training alone.
"""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from flows import artifacts, remedy, stages, upstream
from flows.session import Run, session
from flows.stages import DAY, HOUR, Data
from pinsage import stages as boxes
from pinsage.ablation import stages as ablations
from pinsage.ablation.stages import Outcome
from pinsage.ablation.variants import Plan, Trial
from pinsage.config import Config
from pinsage.store import Artifact


@flow(
    name="ablation",
    flow_run_name="{config.name}",
    result_serializer="json",
    on_failure=[remedy.leave],
    on_crashed=[remedy.leave],
)
def ablation(
    config: Config, seeds: Annotated[int, Field(ge=1)] = 3, only: list[str] | None = None
) -> Artifact:
    """Train and rank every row of the ablation with every seed, and compare them.

    Args:
        config: The base that the rows change; configs/paper.toml over a data set's file.
        seeds: Trainings of each row, with the base's seed and the next ones.
        only: Rows or groups to train (table-1, neighbourhoods, batches); left empty, all. PinSage,
            which the others are compared to, is always there.
    """
    plan = Plan.of(config, seeds=seeds, only=only or ())
    with session(config, "ablation") as run:
        upstream.can_train(run)
        data = upstream.data(run)
        built = stages.graph(run, data, "train")
        outcomes = [train_and_rank(run, data, built, trial) for trial in plan.trials]
        return compare(run, plan, outcomes)


@task(task_run_name="{trial.name}", tags=["gpu"], cache_policy=NO_CACHE, timeout_seconds=3 * DAY)
def train_and_rank(run: Run, data: Data, built: Artifact, trial: Trial) -> Outcome:
    """Train one row with one seed, and rank validation and test."""
    with run.stage(trial.name, has_bar=True) as record:
        walked = trial.config.model_copy(update={"seed": run.config.seed})
        table = boxes.neighbourhoods(walked, run.store, built, data.parts)

        trained = boxes.train(
            trial.config, run.store, data.parts, built, table, on_epoch=record.tracked.epoch
        )
        ranked = ablations.rank(trial.config, run.store, data.parts, built, table, trained)
        record.keep_trial(trained, ranked, trial.tags)
        return Outcome(trial, trained, ranked)


@task(name="compare", task_run_name="compare", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def compare(run: Run, plan: Plan, outcomes: list[Outcome]) -> Artifact:
    """Compare all rows on the same pairs; the table and the figure are the run's."""
    with run.stage("compare") as record:
        compared = record.keep(ablations.compare(plan, run.store, outcomes))
        run.tracker.parent.files(compared)
        run.tracker.parent.describe(compared.file(ablations.TABLE).read_text(encoding="utf-8"))
        artifacts.show_ablation(compared)
        return compared
