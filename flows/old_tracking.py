"""MLflow runs that are old: which go, and removing them with `mlflow gc`.

A flow run is one parent with its children: they stay or go together. What stays: the newest of
each flow, whatever a registered model is of, and every run that this project did not make.
Invariant: a run that goes is marked first, so that the next time finds what a kill left.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run, ViewType
from mlflow.utils import mlflow_tags

from flows.settings import mlflow_artifacts
from pinsage.config import RetentionConfig

MARK = "retention"
_DAY_MS = 86_400_000
_OURS = "tags.run_id LIKE '%t%z-%'"  # session.py tags every parent with the name of its record
_PAGE = 1000


@dataclass(frozen=True)
class Family:
    """A parent run and all below it; `flow` is the tag of the parent, times are ms since 1970."""

    parent: str
    flow: str
    started: int
    last_change: int
    members: tuple[str, ...]


def old_families(
    families: Iterable[Family], registered: Collection[str], policy: RetentionConfig, now_ms: int
) -> list[Family]:
    """Those that go: none of the newest of their flow, old, and no registered model is of them."""
    if policy.mlflow_days == 0:
        return []
    by_flow: dict[str, list[Family]] = defaultdict(list)
    for each in sorted(families, key=lambda family: family.started):
        by_flow[each.flow].append(each)
    older = [each for flow in by_flow.values() for each in flow[: -policy.runs]]
    oldest_ms = now_ms - policy.mlflow_days * _DAY_MS
    return [
        each
        for each in older
        if each.last_change < oldest_ms and not set(each.members) & set(registered)
    ]


def families_of(client: mlflow.MlflowClient, experiments: Sequence[str]) -> list[Family]:
    """All flow runs of the experiments with these names, where there are such."""
    found = [client.get_experiment_by_name(name) for name in experiments]
    ids = [each.experiment_id for each in found if each is not None]
    return [_family(client, parent) for parent in _search(client, ids, _OURS)] if ids else []


def registered_runs(client: mlflow.MlflowClient, families: Iterable[Family]) -> set[str]:
    """Ids of the runs that a version of a registered model is of."""
    found: set[str] = set()
    for family in families:
        listed = ", ".join(f"'{each}'" for each in family.members)
        versions = client.search_model_versions(f"run_id IN ({listed})")
        found |= {str(each.run_id) for each in versions}
    return found


def remove(client: mlflow.MlflowClient, families: Iterable[Family]) -> None:
    """Delete runs as MLflow does: marked and hidden, until `purge` frees their place."""
    for family in families:
        for run_id in reversed(family.members):  # the parent last: it leads to the others
            client.set_tag(run_id, MARK, "removed")
            client.delete_run(run_id)


def purge(client: mlflow.MlflowClient, uri: str, root: Path, experiments: Sequence[str]) -> int:
    """Free the place of what `remove` deleted, this time or before; how many runs there were.

    Needs the database itself: with a server's address nothing is done, and 0 returned.
    """
    if uri.startswith("http"):
        return 0
    found = [client.get_experiment_by_name(name) for name in experiments]
    ids = [each.experiment_id for each in found if each is not None]
    marked = [
        run.info.run_id
        for run in _search(client, ids, f"tags.{MARK} = 'removed'", ViewType.DELETED_ONLY)
    ]
    if marked:
        _mlflow_gc(uri, mlflow_artifacts(root), marked)
    return len(marked)


def _mlflow_gc(uri: str, artifacts: Path, run_ids: Sequence[str]) -> None:
    """`mlflow gc` in this process: an address may hold a password, which no argument may."""
    from mlflow.cli import gc

    options = ["--backend-store-uri", uri, "--artifacts-destination", artifacts.as_uri()]
    before = os.environ.get("MLFLOW_TRACKING_URI")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # a line a run
            gc.main(
                [*options, "--tracking-uri", uri, "--run-ids", ",".join(run_ids)],
                standalone_mode=False,
            )
    finally:  # it sets the address for the whole process
        mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None unsets it
    for run_id in run_ids:  # whose files are gone, and whose folder it leaves
        for folder in artifacts.glob(f"*/{run_id}"):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _family(client: mlflow.MlflowClient, parent: Run) -> Family:
    members, waiting = [parent], [parent]
    while waiting:
        above = waiting.pop()
        asked = f"tags.`{mlflow_tags.MLFLOW_PARENT_RUN_ID}` = '{above.info.run_id}'"
        below = list(_search(client, [above.info.experiment_id], asked))
        members += below
        waiting += below
    return Family(
        parent=parent.info.run_id,
        flow=parent.data.tags.get("flow", ""),
        started=parent.info.start_time,
        last_change=max(run.info.end_time or run.info.start_time for run in members),
        members=tuple(run.info.run_id for run in members),
    )


def _search(
    client: mlflow.MlflowClient, ids: Sequence[str], asked: str, view: int = ViewType.ACTIVE_ONLY
) -> Iterator[Run]:
    token: str | None = None
    while ids:
        page = client.search_runs(list(ids), asked, view, _PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
