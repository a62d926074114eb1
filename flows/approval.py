"""A person is asked whether readers are to follow a version: a run pauses until the answer.

Only a run that a worker started can wait. What pauses is a run of its own below it, whose page has
the button "Resume" and the form: a paused run gives back its place among the deployment's runs, and
Prefect ends it as Crashed a few minutes later, because the place can no longer be renewed. The run
that asks stays Running, and keeps its place. A command line ends with the question, and `pinsage
promote` is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import flow, get_client, runtime
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Running
from pydantic import Field

POLL = 5  # seconds between two looks for an answer


class Approval(RunInput):
    """The form on the run's page."""

    promote: bool = Field(title="Promote", description="On: readers follow it. Off: they stay.")
    why: str = Field("", title="Why", description="Kept with the version and in the run's record.")
    who: str = Field("", title="Who", description="Your name: Prefect does not know it.")


@dataclass(frozen=True)
class Answer:
    """What a person said, and who; `is_given` is False where nobody answered in time."""

    promote: bool
    told: str
    by: str
    is_given: bool = True


def can_wait() -> bool:
    """True where the run came from a worker, so that somebody can answer on its page."""
    return runtime.deployment.id is not None


@flow(name="approval", flow_run_name="approval", validate_parameters=False)
def ask(question: str, hours: float) -> Answer:
    """Pause for a person's answer; `question` is Markdown. Called from a flow, not a task.

    After `hours` it goes on, and nobody's answer counts as a refusal.
    """
    form = Approval.with_initial_data(description=question)
    try:
        found = pause_flow_run(
            wait_for_input=form, timeout=max(1, round(hours * 3600)), poll_interval=POLL
        )
    except FlowPauseTimeout:
        _go_on()
        return Answer(
            promote=False, told=f"nobody answered within {hours:g} h", by="", is_given=False
        )
    who = found.who.strip() or "a person on the run's page"
    verb = "promoted" if found.promote else "refused"
    why = f": {found.why.strip()}" if found.why.strip() else ""
    return Answer(promote=found.promote, told=f"{verb} by {who}{why}", by=who)


def _go_on() -> None:
    """Prefect would end a run that was paused for too long as failed, whatever it does next."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(runtime.flow_run.id, Running(name="Unanswered"), force=True)
