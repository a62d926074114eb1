"""What the stages of one run share: configuration, artifacts, tracking, and a record of it all.

<root>/runs/<run-id>.json says which artifact every stage used, made or found, and what came of
the run; it is written after each stage, so that of a killed run it says `running` for ever.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prefect import runtime
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from flows import artifacts, records
from flows.progress import StageEvent, StageMoment, announce, announce_moment
from flows.settings import prepare_process
from flows.tracking import TrackedRun, Tracker, connected
from pinsage import __version__
from pinsage.config import Config
from pinsage.errors import PinSageError
from pinsage.files import write_atomic
from pinsage.retention.plan import collect
from pinsage.retrieval.publish import take_token
from pinsage.store import Artifact, Store

if TYPE_CHECKING:
    from pinsage.progress import Listener, Progress
    from pinsage.retrieval.fencing import Token
    from pinsage.tuning.trial import Outcome

MODEL = "PinSage"
_log = logging.getLogger(__name__)
_HOME = Path(__file__).resolve().parents[1]


class Book:
    """What a run used and made; becomes <root>/runs/<run-id>.json.

    No dataclass: Prefect would look into it, and draw every task as depending on all before it.
    """

    def __init__(self, run_id: str, flow: str, name: str) -> None:
        self.run_id = run_id
        self.flow = flow
        self.name = name
        self.started = _now()
        self.stages: dict[str, Artifact] = {}
        self.outcome: dict[str, Any] = {}

    def document(self, state: str) -> dict[str, Any]:
        """The run as JSON."""
        return {
            "run_id": self.run_id,
            "flow": self.flow,
            "name": self.name,
            "state": state,
            "started": self.started,
            "ended": None if state == "running" else _now(),
            "code_version": __version__,
            "stages": {name: _entry(artifact) for name, artifact in self.stages.items()},
            **self.outcome,
        }


@dataclass(frozen=True)
class Run:
    """One flow run, as its stages see it."""

    config: Config
    store: Store
    tracker: Tracker
    book: Book
    token: Token | None = None  # where the run is to publish
    is_attached: bool = False  # to a parent run of another process, which tracks the other stages

    def origin(self) -> dict[str, str]:
        """What made what the run publishes: its record, its commit, its MLflow run."""
        known = {
            "run_id": self.book.run_id,
            "git_commit": git_commit(),
            "mlflow_run_id": self.tracker.parent.run_id,
        }
        return {name: value for name, value in known.items() if value}

    def remember(self, name: str, artifact: Artifact) -> None:
        """Record a stage's artifact at once: what a killed run has made is not for removal."""
        self.book.stages[name] = artifact
        _write(self.config, self.book, self.book.document("running"))

    @contextmanager
    def stage(
        self, name: str, *, tracked: bool = True, has_bar: bool = False
    ) -> Iterator[StageRecord]:
        """Announce, track and record one stage; whatever it raises is recorded and passed on.

        `tracked` is off where another process has recorded the stage below the same parent.
        `has_bar` is on where the stage draws a progress bar itself.
        """
        announce(StageEvent(name, "running", has_bar=has_bar))
        started = time.monotonic()
        is_mine = tracked and (not self.is_attached or name == self.book.flow)
        child = self.tracker.stage(name) if is_mine else nullcontext(self.tracker.nothing())
        try:
            with child as written:
                yield StageRecord(name, self, written, started)
        except BaseException as error:
            seconds = time.monotonic() - started
            announce(StageEvent(name, "failed", type(error).__name__, seconds))
            error.add_note(f"stage {name}")
            raise


@dataclass(frozen=True)
class StageRecord:
    """Where a stage puts what it made. `started` is on the monotonic clock, in seconds."""

    name: str
    run: Run
    tracked: TrackedRun
    started: float

    @property
    def url(self) -> str | None:
        """Page of the stage's MLflow run, where there is one."""
        return self.run.tracker.url_of(self.tracked)

    def listener(self) -> Listener:
        """Shows how far the stage is, in the terminal and in Prefect's pages."""
        shown = artifacts.StageProgress(self.name)

        def tell(progress: Progress) -> None:
            announce_moment(StageMoment(self.name, progress))
            shown.tell(progress)

        return tell

    def keep(self, artifact: Artifact, note: str = "") -> Artifact:
        """Record the stage's artifact, and hand it on; a note is said with it."""
        manifest = artifact.manifest
        self.run.remember(self.name, artifact)
        self.tracked.artifact(artifact)
        state: Literal["reused", "done"] = "reused" if artifact.reused else "done"
        announce(StageEvent(self.name, state, note, manifest.seconds, manifest.peak_mib))
        return artifact

    def keep_trial(self, trained: Artifact, ranked: Artifact, tags: Mapping[str, str]) -> None:
        """Record a training and what it reaches as one: its settings, its cost, its metrics."""
        self.keep(trained)
        self.run.remember(f"{self.name}: ranks", ranked)
        self.tracked.write(params=tags, tags=tags, metrics=records.numbers(ranked.facts))

    def keep_attempt(self, settings: Mapping[str, Any], outcome: Outcome) -> None:
        """Record a trial of a tuning: what was chosen, and what came of it."""
        if outcome.trained is not None:
            self.keep(outcome.trained, outcome.note)
        else:
            announce(StageEvent(self.name, "done", outcome.note, outcome.seconds))
        self.tracked.trial(MODEL, settings, outcome.score, {"state": outcome.state})

    def keep_inputs(self, landed: Artifact) -> None:
        """Log the landed tables as the data sets of this stage and of the whole run."""
        for name in ("interactions.parquet", "items.parquet"):
            if name in landed.manifest.files:
                file, digest = landed.file(name), landed.digest(name)
                parent = (
                    self.run.tracker.nothing() if self.run.is_attached else self.run.tracker.parent
                )
                for tracked in (self.tracked, parent):
                    tracked.dataset(f"{self.run.config.name}-{file.stem}", file, digest, "source")

    def keep_outcome(self, *, reused: bool, **outcome: str) -> None:
        """Record what a stage did that leaves no artifact in the store."""
        self.run.book.outcome.update(outcome)
        self.tracked.write(tags={**outcome, "reused": str(reused).lower()})
        self.run.tracker.parent.write(tags=outcome)
        seconds = time.monotonic() - self.started
        announce(StageEvent(self.name, "reused" if reused else "done", "", seconds))


@contextmanager
def session(
    config: Config, flow: str, *, parent: str | None = None, publishes: bool = False
) -> Iterator[Run]:
    """The run of a flow, tracked from its first to its last moment.

    `parent` is the MLflow run to record below, where another process began one. A run that
    `publishes` takes its place in line here, before it reads anything.
    """
    prepare_process()
    token = take_token(config) if publishes else None
    book, store = Book(_run_id(), flow, config.name), Store(config.root)
    with connected(config) as tracker:
        if parent is None:
            # Named by its time, so that runs can be told apart where they are compared.
            tracker.begin(f"{flow} {book.started[:16].replace('T', ' ')}", _tags(config, book))
        else:
            tracker.attach(parent)
        artifacts.link_tracking(tracker.url)
        # An attached run is measured by who began it, and its training by `stage`.
        measured = tracker.measured(lambda: tracker.parent) if parent is None else nullcontext()
        try:
            with measured:
                yield Run(config, store, tracker, book, token, parent is not None)
        except BaseException as error:
            _end(config, tracker, book, parent, error)
            raise
        else:
            _end(config, tracker, book, parent, None)
        finally:
            store.close()


def tidy(config: Config) -> None:
    """Remove what nobody needs any more, after a run that went well; never fails it.

    Called outside of `session`, which holds the store open.
    """
    try:
        decided = collect(config.root, config.retention)
    except (OSError, PinSageError) as error:
        _log.warning("nothing is removed that nobody needs: %s", error)
        return
    if decided.in_use:
        _log.info("nothing is removed: another process works in %s", config.root)
    elif decided.going:
        _log.info("removed %d that nobody needs, %.0f MB", len(decided.going), decided.frees / 1e6)


def _end(
    config: Config, tracker: Tracker, book: Book, parent: str | None, error: BaseException | None
) -> None:
    document = book.document("failed" if error else "completed")
    document["mlflow_run_id"] = tracker.parent.run_id
    document["error"] = str(error) if error else None
    tracker.parent.text("run.json", _text(document))
    if parent is None:
        tracker.parent.end(error)
    _write(config, book, document)


def _write(config: Config, book: Book, document: dict[str, Any]) -> None:
    write_atomic(config.root / "runs" / f"{book.run_id}.json", _text(document))


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, default=str) + "\n"


def _run_id() -> str:
    """Sorts by time; the end is the Prefect flow run's id, so that the one leads to the other."""
    return f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-{str(runtime.flow_run.id)[:8]}"


def _tags(config: Config, book: Book) -> dict[str, str]:
    tags = {
        "dataset": config.name,
        "flow": book.flow,
        "run_id": book.run_id,
        "code.version": __version__,
        "prefect.flow_run_id": str(runtime.flow_run.id),
        "trigger": _trigger(),
        "mlflow.source.name": f"flows/{book.flow}.py",
        "mlflow.source.type": "JOB",
    }
    if (page := flow_run_page()) is not None:
        tags["prefect.flow_run_url"] = page
    commit = git_commit()
    return {**tags, "mlflow.source.git.commit": commit} if commit else tags


def flow_run_page() -> str | None:
    """Prefect's page of the flow run that is going on; None where no server has pages."""
    page = url_for("flow-run", runtime.flow_run.id)
    # The embedded API has none.
    return page if page and get_current_settings().server.ui.enabled else None


def _trigger() -> str:
    """What started the run: a schedule, a person or program by its deployment, a command line."""
    if runtime.deployment.id is None:
        return "command line"
    context = FlowRunContext.get()
    flow_run = context.flow_run if context else None
    return "schedule" if flow_run and flow_run.auto_scheduled else "manual"


def git_commit() -> str | None:
    """Commit of the checkout this code runs from, `-dirty` where it was changed; else None."""
    question = ["git", "-C", str(_HOME), "describe", "--always", "--dirty", "--abbrev=40"]
    if not (_HOME / ".git").exists():  # installed as a package: the commit around it says nothing
        return None
    try:
        answer = subprocess.run(question, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None


def _entry(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    return {
        "path": str(artifact.path),
        "key": manifest.key,
        "digest": artifact.digest(),
        "reused": artifact.reused,
        "seconds": manifest.seconds,
        "peak_mib": manifest.peak_mib,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
