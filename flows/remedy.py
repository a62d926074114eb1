"""What to do about a run that failed or crashed, left on its page as the artifact `remedy`.

A state's message says what was found; this says what a person does next. A process that is killed
leaves none: the automation that notices it says the same in the state's message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinsage.errors import (
    ArtifactError,
    ClusterError,
    ConfigError,
    ContractError,
    MissingExtraError,
    PublishError,
    RefusedError,
    SourceError,
    TrainingError,
)

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.schemas.objects import FlowRun, State

KEY = "remedy"
# Ordered by class alone: no error here is another's base.
REMEDIES: dict[type[Exception], str] = {
    ConfigError: "Correct the parameter that the message names, and run again.",
    SourceError: "Mend the file or the database that the message names, and run again.",
    ContractError: "Open the Data Docs of this run (artifacts `data-docs-…`, `contract-…`): they "
    "show the rows. Mend the source; or change the group `contract` if the expectation is wrong.",
    MissingExtraError: "Install the package that the message names where the worker runs.",
    TrainingError: "Do what the message says. Checkpoints are kept: the next run resumes.",
    ArtifactError: "Delete the folder that the message names, and run again: it is made anew. "
    "Look at the disk if it happens twice.",
    PublishError: "Readers stay where they are. A later run that has published already needs "
    "nothing; else run again.",
    RefusedError: "Compare this run with the champion's in MLflow; the artifact `gate` has every "
    "rule. Readers stay where they are, and nothing needs doing unless it comes again: then look "
    "at what changed in the data.",
    ClusterError: "See that the cluster answers at the address of the message, or set the engine "
    "to `local`; parts that are done are kept.",
    TimeoutError: "The stage took longer than it may. Look for a machine that is too busy or a "
    "source that hangs, and run again: what was finished is found.",
}
DRIFTED = (
    "Look at the artifact `drift` or `drift-embeddings`: it has every measure. Mend the source; "
    "or, if tonight is right as it is, run again with `gate.drift.override` on."
)
CRASHED = (
    "The process ended before it could say why: out of memory, a restart, or somebody ended it. "
    "Look at the worker's log, then run again: what was finished is found, and training resumes "
    "from its last checkpoint."
)
UNEXPECTED = (
    "This error is none of those that the pipeline foresees: the log of this run has where it came "
    "from. Finished stages are found by the next run. If it comes again, report it with the log."
)


def leave(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Hook for failed and crashed runs: an artifact, and a line of the log."""
    del flow  # Prefect passes it by name
    from prefect import get_client
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.logging.loggers import flow_run_logger

    error = _error_of(state)
    document = remedy(error, is_crash=state.is_crashed(), message=state.message or "")
    flow_run_logger(flow_run).error("%s", document.splitlines()[-1])
    with get_client(sync_client=True) as client:
        client.create_artifact(
            ArtifactCreate(
                key=KEY,
                type="markdown",
                description="What to do about it",
                data=document,
                flow_run_id=flow_run.id,
            )
        )


def remedy(error: BaseException | None, *, is_crash: bool, message: str) -> str:
    """The Markdown of the artifact; its last line is what to do."""
    stage = next(iter(getattr(error, "__notes__", [])), "")
    said = " ".join((str(error) if error is not None else message).split())
    kind = type(error).__name__ if error is not None else "no error was handed on"
    if is_crash:
        todo = CRASHED
    elif isinstance(error, ContractError) and stage.endswith("drift"):
        todo = DRIFTED
    else:
        todo = next(
            (text for known, text in REMEDIES.items() if isinstance(error, known)), UNEXPECTED
        )
    title = "# Crashed" if is_crash else "# Failed"
    where = f" in the {stage}" if stage else ""
    # Code within a line wraps; a block of code would be one long line, which Prefect's page cuts.
    inert = f"{kind}: {said}".replace("`", "'")
    return f"{title}{where}\n\n`{inert}`\n\n**What to do.** {todo}"


def _error_of(state: State[Any]) -> BaseException | None:
    """The error itself, or that of the record that a flow with a stored result hands on."""
    found = getattr(state.data, "result", state.data)
    return found if isinstance(found, BaseException) else None
