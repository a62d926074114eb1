"""The tasks of the gate: drift, comparison, the check of what is packaged, decision, promotion.

What each does is in `pinsage.stages` and `pinsage.retrieval`.
"""

from __future__ import annotations

import json

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task

from flows import artifacts, infra, records
from flows.registration import Registered, registered_as
from flows.rollback import AliasError, companion
from flows.session import Run
from flows.stages import DAY, HOUR, Data, Graph
from pinsage import stages
from pinsage.drift import stage as drift
from pinsage.promotion.evidence import Check, Stability
from pinsage.retrieval import publish as retrieval
from pinsage.retrieval.publish import Version
from pinsage.store import Artifact

CONTRACT = Check(passed=True, message="the embeddings keep their contract")


def is_tracker_trouble(_task: Task, _run: TaskRun, state: State) -> bool:  # type: ignore[type-arg]
    """True where a promotion waits for MLflow alone."""
    return isinstance(state.data, AliasError)


@task(name="input-drift", task_run_name="input-drift", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def input_drift(run: Run, data: Data) -> Artifact:
    """Tonight's data beside the nights before; what is too far off stops the run here."""
    with run.stage("input-drift") as record:
        found = record.keep(stages.input_drift(run.config, run.store, data.ingested))
        run.tracker.parent.write(
            tags={"data.version": data.ingested.digest()}, metrics=records.drift(found)
        )
        artifacts.show_drift("drift", found)
        drift.enforce(found, run.config.gate.drift)
        return found


@task(
    name="embedding-drift",
    task_run_name="embedding-drift",
    cache_policy=NO_CACHE,
    timeout_seconds=HOUR,
)
def embedding_drift(run: Run, data: Data, embedded: Artifact) -> Artifact:
    """Tonight's embeddings beside those of the nights before, likewise."""
    with run.stage("embedding-drift") as record:
        found = record.keep(stages.embedding_drift(run.config, run.store, data.ingested, embedded))
        run.tracker.parent.write(metrics=records.drift(found))
        artifacts.show_drift("drift-embeddings", found)
        drift.enforce(found, run.config.gate.drift)
        return found


@task(name="champion", task_run_name="champion", cache_policy=NO_CACHE, timeout_seconds=DAY)
def champion(run: Run, data: Data, past: Graph, embedded: Artifact) -> Artifact:
    """Rank tonight's window by the model that readers follow."""
    with run.stage("champion") as record:
        return record.keep(
            stages.champion(run.config, run.store, data.parts, past.built, past.table, embedded)
        )


@task(name="compare", task_run_name="compare", cache_policy=NO_CACHE, timeout_seconds=6 * HOUR)
def compare(
    run: Run, data: Data, past: Graph, trained: Artifact, evaluated: Artifact, ranked: Artifact
) -> Artifact:
    """Champion against challenger on the same pairs."""
    with run.stage("compare") as record:
        return record.keep(
            stages.compare(
                run.config, run.store, data.parts, past.built, trained, evaluated, ranked
            )
        )


@task(name="infra", task_run_name="infra", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def infra_check(run: Run, data: Data, version: Version, registered: Registered | None) -> Check:
    """Load what is packaged in a fresh process, and ask it; that it fails is a finding."""
    with run.stage("infra") as record:
        link = run.tracker.link

        def check(through: Registered | None) -> Check:
            found = record.keep(infra.check(run.store, version, through, link.uri, data.ingested))
            told = (
                f"{found.manifest.settings['through']} loads in a fresh process, and answers by id "
                f"and by features"
            )
            return Check(passed=True, message=told)

        try:
            return check(registered)
        except infra.InfraError:
            # A registry that is gone says nothing of the model: then the version itself is asked.
            if (
                registered
                and link.ask("answer", lambda c: c.search_experiments(max_results=1)) is None
            ):
                try:
                    return check(None)
                except infra.InfraError as second:
                    error = second
            record.keep_outcome(reused=False, infra=str(error))
            return Check(passed=False, message=str(error))


@task(name="decide", task_run_name="decide", cache_policy=NO_CACHE, timeout_seconds=HOUR)
def decide(run: Run, compared: Artifact, version: Version, checked: Check) -> Artifact:
    """Promote, refuse or ask, with the reasons."""
    with run.stage("decide") as record:
        decided = record.keep(
            stages.decide(
                run.config,
                run.store,
                compared,
                contract=CONTRACT,
                infra=checked,
                stability=_stability(version),
            )
        )
        verdict = str(decided.facts["verdict"])
        record.tracked.write(tags={"gate.verdict": verdict})
        run.tracker.parent.files(decided)
        return decided


@task(
    name="promote",
    task_run_name="promote",
    cache_policy=NO_CACHE,
    timeout_seconds=6 * HOUR,
    retries=2,
    retry_delay_seconds=[5, 30],
    retry_condition_fn=is_tracker_trouble,
)
def promote(
    run: Run, version: Version, registered: Registered | None, *, why: str, force: bool
) -> Version:
    """Switch readers and the alias `champion` to a version: both, or neither."""
    with run.stage("promote") as record:
        config, moved = run.config, list[str]()
        is_known = registered or registered_as(config.root, config.name)
        switched = retrieval.promote(
            config.root,
            config.name,
            version.name,
            token=run.token,
            why=why,
            force=force,
            keep=config.publish.keep,
            # Where no model of this data set was ever registered, there is no alias to go along.
            companion=companion(config, config.root, config.name, moved) if is_known else None,
        )
        record.keep_outcome(reused=switched.reused, promoted=switched.name, moved="; ".join(moved))
        return switched


def _stability(version: Version) -> Stability:
    measured = version.stability
    return Stability(
        str(measured.get("against", "")), measured.get("overlap_10"), measured.get("cosine_mean")
    )


def reasons_of(decided: Artifact) -> list[str]:
    """Why it was decided so: what failed, else what is unsure, else what the comparison says."""
    document = json.loads(decided.file("decision.json").read_text(encoding="utf-8"))
    found: list[dict[str, str]] = document["reasons"]
    for outcome in ("fails", "unsure"):
        if told := [f"{each['rule']}: {each['text']}" for each in found
                    if each["outcome"] == outcome]:  # fmt: skip
            return told
    if decided.facts["verdict"] == "ask":
        return ["approval: all rules hold, and gate.approval wants a person's word"]
    return [f"{each['rule']}: {each['text']}" for each in found[:1]]
