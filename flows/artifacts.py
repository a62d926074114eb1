"""What a run shows in Prefect's pages. The only module that creates Prefect artifacts.

An artifact's key is the same for every run, so that Prefect shows its history.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pyarrow.parquet as pq
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.results import decision_text, read_periods, table_rows
from pinsage.progress import Progress
from pinsage.retrieval.publish import REPORT
from pinsage.store import Artifact

if TYPE_CHECKING:
    from pinsage.training.loop import EpochReport


def link_tracking(url: str | None) -> None:
    """Link to the MLflow run, where there is one."""
    if url:
        told = "Metrics, curves, plots and files of this run"
        create_link_artifact(url, "MLflow run", key="mlflow-run", description=told)


def link_data_docs(stage: str, checked: Artifact, tracking_url: str | None) -> None:
    """What a data contract found, with its pages, in MLflow where the run is tracked."""
    verdict = "holds" if checked.facts["passed"] else "is broken"
    lines = [f"# {stage}: the contract {verdict}", "", *_findings(checked), ""]
    if tracking_url:
        url = file_of(tracking_url, "data_docs/index.html")
        told = f"Every expectation of {stage}, and what was found"
        create_link_artifact(url, "Data Docs", key=f"data-docs-{stage}", description=told)
        lines += [f"[Data Docs]({url}): every expectation, and the rows that miss it.", ""]
    lines += [f"On disk: `{checked.file('data_docs/index.html')}`", ""]
    markdown = "\n".join(lines)
    create_markdown_artifact(markdown, key=f"contract-{stage}", description=f"Contract {verdict}")


def _findings(checked: Artifact) -> Iterator[str]:
    """How many expectations, and a line for each that was missed or only tolerated."""
    broken, tolerated = checked.facts["breaches"], checked.facts["tolerated"]
    yield f"{checked.facts['num_expectations']} expectations; {len(broken)} broken."
    if broken or tolerated:
        yield ""
    for mark, each in (*(("✗", each) for each in broken), *(("tolerated", e) for e in tolerated)):
        found, wanted, table = (_code(str(each[key])) for key in ("found", "expected", "table"))
        yield f"- {mark} in {table}: {wanted}, found {found}"


def _code(text: str) -> str:
    """Anybody's text, inert: Prefect's pages show entities as they are written."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


def link_report(reported: Artifact, tracking_url: str | None) -> None:
    """Link to the report and what is beside it, in MLflow where the run is tracked."""
    told = "The page to judge the run by"
    lines = ["# Report", ""]
    if tracking_url:
        url = file_of(tracking_url, REPORT)
        create_link_artifact(url, "Report", key="report-page", description=told)
        lines += [
            f"- [The report]({url})",
            f"- [Its plots]({file_of(tracking_url, 'figures')})",
            f"- [The MLflow run]({tracking_url}), with metrics and settings",
        ]
    lines += [f"- One page that needs no network: `{reported.file(REPORT)}`", ""]
    create_markdown_artifact("\n".join(lines), key="report", description=told)


def file_of(tracking_url: str, file: str) -> str:
    """Page of a file of an MLflow run; the view, which ends the run's address, ends it still."""
    page, mark, view = tracking_url.partition("?")
    return f"{page}/artifacts/{file}{mark}{view}"


def show_results(evaluated: Artifact, summary: str) -> None:
    """The result table twice: to read (Markdown) and to sort (table)."""
    create_markdown_artifact(summary, key="results", description="PinSage beside the baselines")
    rows = list(table_rows(read_periods(evaluated)))
    create_table_artifact(rows, key="results-table", description="One row a period and method")


def show_gate(decided: Artifact, verdict: str, reason: str, told: str) -> None:
    """The decision twice: to read, and a row a rule."""
    markdown = decision_text(decided, verdict, reason)
    said = f"# Verdict: {verdict}\n\n" + (f"{told}.\n\n" if told else "")
    create_markdown_artifact(f"{said}{markdown}", key="gate", description=f"Verdict: {verdict}")
    document = json.loads(decided.file("decision.json").read_text(encoding="utf-8"))
    create_table_artifact(document["reasons"], key="gate-table", description="One row a rule")


def show_drift(key: str, found: Artifact) -> None:
    """Tonight beside the nights before, a row a measure."""
    markdown = found.file("drift.md").read_text(encoding="utf-8")
    far = [*found.facts["block"], *found.facts["warn"]]
    said = f"Far from the nights before: {', '.join(far)}" if far else "Nothing is far off"
    title = "Drift of the embeddings" if key.endswith("embeddings") else "Drift of the input"
    create_markdown_artifact(f"# {title}\n\n{markdown}", key=key, description=said[:200])


def show_trend(markdown: str, tracking_url: str | None) -> None:
    """The last nights as a table; the chart is in MLflow."""
    link = ""
    if tracking_url:
        link = f"[The chart]({file_of(tracking_url, 'figures/trend.png')}) is in MLflow.\n\n"
    markdown = f"# The last nights\n\n{link}{markdown}"
    create_markdown_artifact(markdown, key="trend", description="Metrics and verdicts by night")


def show_ablation(compared: Artifact) -> None:
    """The ablation's table twice: to read (Markdown) and to sort (one row a number)."""
    markdown = compared.file("table.md").read_text(encoding="utf-8")
    create_markdown_artifact(markdown, key="ablation", description="What each idea is worth")
    rows = pq.read_table(compared.file("results.parquet")).to_pylist()
    create_table_artifact(rows, key="ablation-table", description="One row a number")


def show_tuning(concluded: Artifact) -> None:
    """What was chosen, as a profile to copy, and every method at its best."""
    table = concluded.file("table.md").read_text(encoding="utf-8")
    profile = concluded.file("best.toml").read_text(encoding="utf-8")
    markdown = f"# Chosen on validation\n\n```toml\n{profile}```\n\n{table}"
    create_markdown_artifact(markdown, key="tuning", description="The best settings")


class _Bar:
    """A progress bar in Prefect's pages, from when it is first shown."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._artifact: UUID | None = None

    @property
    def is_shown(self) -> bool:
        return self._artifact is not None

    def show(self, percent: float, said: str) -> None:
        """Draw it, or move it."""
        if self._artifact is None:
            made = create_progress_artifact(percent, key=self._key, description=said)
            # The function is typed for callers that await as well; called plainly, it is done.
            self._artifact = cast("UUID", made)
        else:
            update_progress_artifact(self._artifact, percent, description=said)


class TrainingProgress:
    """A progress bar in Prefect's pages; it appears with the first epoch that is trained."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._bar = _Bar("training-progress")

    def epoch(self, report: EpochReport) -> None:
        """Move on by an epoch. Early stopping may end the training before 100 %."""
        percent = min(100.0, 100.0 * report.epoch / self._epochs)
        loss = "before training" if report.loss is None else f"loss {report.loss:.4f}"
        said = f"Epoch {report.epoch} of at most {self._epochs}, {loss}"
        self._bar.show(percent, said)


class StageProgress:
    """How far a long stage is, in Prefect's pages; a stage of a few seconds makes no artifact.

    `interval` is the least number of seconds before the first report and between two: each is a
    request to Prefect.
    """

    def __init__(self, stage: str, interval: float = 5.0) -> None:
        self._stage = stage
        self._interval = interval
        self._told = time.monotonic()
        self._bar = _Bar(f"{stage}-progress")

    def tell(self, progress: Progress) -> None:
        """Show a moment, unless the last one shown was just before; a part's end always is."""
        is_end = self._bar.is_shown and progress.done >= progress.total
        if not is_end and time.monotonic() - self._told < self._interval:
            return
        self._bar.show(100.0 * progress.share, f"{self._stage}: {progress}")
        self._told = time.monotonic()
