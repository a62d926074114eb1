"""The summary of a run: the same Markdown in Prefect's artifacts and as MLflow's description."""

from __future__ import annotations

from collections.abc import Iterator

from flows import artifacts
from flows.promotion import Settled
from flows.registration import Registered
from flows.results import decision_text, headline, verdicts
from flows.session import Run, flow_run_page
from pinsage.retrieval.publish import REPORT, Version
from pinsage.store import Artifact

REPORT_STAGE = "report"
_MEASURES = {
    "overlap_10": "overlap of the 10 nearest",
    "cosine_mean": "mean cosine once aligned",
    "cosine_q05": "its 5 % quantile",
}


def show_results(
    run: Run,
    evaluated: Artifact,
    settled: Settled | None = None,
    registered: Registered | None = None,
) -> None:
    """Show the result tables and what was published; headline metrics go to the parent run."""
    summary = markdown(run, evaluated, settled, registered)
    artifacts.show_results(evaluated, summary)
    run.tracker.parent.describe(summary)
    run.tracker.parent.write(metrics=headline(evaluated))


def markdown(
    run: Run, evaluated: Artifact, settled: Settled | None, registered: Registered | None
) -> str:
    """The verdict, what was published, results, and where to look further."""
    tables = evaluated.file("table.md").read_text(encoding="utf-8")
    where: list[str] = []
    lines = [f"# {run.config.name}", ""]
    if settled is not None:
        version = settled.version
        said = f" {settled.told}." if settled.told else ""
        lines += [f"**Verdict: {settled.verdict}.**{said}", ""]
        lines += [decision_text(settled.decided, settled.verdict, settled.reasons[0])]
        again = " (the same as before)" if version.reused else ""
        where.append(f"- Published version `{version.name}`{again} in `{version.path}`")
        where.extend(_published(version))
    if registered is not None:
        where.append(f"- Registered as version {registered.version} of `{registered.name}`")
    if run.tracker.url is not None:
        where.append(f"- [MLflow run]({run.tracker.url})")
        if REPORT_STAGE in run.book.stages:
            page = artifacts.file_of(run.tracker.url, REPORT)
            where.append(f"- [Report]({page}): accuracy, neighbours, data and model")
    if (prefect := flow_run_page()) is not None:
        where.append(f"- [Prefect run]({prefect}): its stages, log and artifacts")
    where.append(f"- Evaluation in `{evaluated.path}`")
    against = [f"- {verdict}" for verdict in verdicts(evaluated)]
    lines += ["## Against the best baseline", "", *against, "", "## Where it is", "", *where]
    return "\n".join([*lines, "", tables])


def _published(version: Version) -> Iterator[str]:
    """Where else it is, and how far it is from the one before."""
    if version.to:
        yield f"- Also at `{version.to}`"
    measured = dict(version.stability)
    if against := measured.pop("against", None):
        shared = measured.pop("num_shared")
        said = ", ".join(f"{_MEASURES[name]} {value:.3f}" for name, value in measured.items())
        yield f"- Against `{against}`, on {shared:,} shared items: {said or 'nothing to measure'}"
