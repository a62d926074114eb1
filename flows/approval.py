"""A person is asked whether readers are to follow a version: the run pauses until the answer.

Only a run that a worker started can wait: its page has the button "Resume" and the form. A command
line ends with the question, and `pinsage promote` is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from prefect import get_client, runtime
from prefect.exceptions import FlowPauseTimeout
from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from prefect.states import Running

POLL = 5  # seconds between two looks for an answer


class Approval(RunInput):
    """The form on the run's page."""

    promote: bool
    why: str = ""
    who: str = ""


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


def ask(question: str, hours: float) -> Answer:
    """Pause the run for a person's answer; `question` is Markdown. Called from a flow, not a task.

    After `hours` the run goes on, and nobody's answer counts as a refusal.
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
