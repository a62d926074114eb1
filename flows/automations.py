"""What Prefect's server does by itself for our runs: notice those that died, and tell somebody.

Both automations look only at runs with the tag of our deployments: others on the same server may
have heartbeats of another pace. They are kept by name; made again, they are replaced.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from flows.settings import TAG
from pinsage.errors import ConfigError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

LOST, FAILED = "pinsage: a run without a sign of life", "pinsage: a run that failed"
SILENCE = 90  # seconds; three of the heartbeats that prefect.yaml asks for
# A run that says one of these is not lost, though its heart beats no more.
_ENDED = (
    "Completed", "Failed", "TimedOut", "Crashed", "Cancelled", "RolledBack", "Paused", "Suspended",
    "AwaitingRetry", "Cached",
)  # fmt: skip
_HEARTBEAT = "prefect.flow-run.heartbeat"
_RUN = "prefect.resource.id"


def lost_runs(silence: int = SILENCE) -> AutomationCore:
    """A run that has shown no sign of life for `silence` seconds becomes Crashed.

    That is what frees its place: until then a killed run counts as the one that may run.
    """
    message = (
        f"no sign of life for {silence} s: the process was killed, or its machine or network is "
        "gone. What was published stays as it was. See that a worker listens to the pool, then "
        "start the run again: finished stages are found, training resumes from its last checkpoint"
    )
    return AutomationCore(
        name=LOST,
        description=f"Crashed, where {silence} s go by without a heartbeat; frees its slot.",
        trigger=EventTrigger(
            match=ResourceSpecification({_RUN: "prefect.flow-run.*"}),
            match_related=ResourceSpecification({_RUN: f"prefect.tag.{TAG}"}),
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{state}" for state in _ENDED)},
            for_each={_RUN},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=message)],
    )


def failed_runs(block_type: str, block: UUID) -> AutomationCore:
    """A run that failed, crashed or took too long is told to a block, at most once a run."""
    said = "{{ flow_run.name }} of {{ flow.name }}: {{ flow_run.state.name }}"
    why = "{{ flow_run.state.message }}"
    # A server that was started without PREFECT_API_URL or PREFECT_UI_URL does not know its pages.
    page = "{{ flow_run|ui_url or 'Its page in Prefect' }}"
    todo = "What to do: the message says it; so does the artifact `remedy` of a run that failed."
    return AutomationCore(
        name=FAILED,
        description=f"Told to a block of the type {block_type}.",
        trigger=EventTrigger(
            match=ResourceSpecification({_RUN: "prefect.flow-run.*"}),
            match_related=ResourceSpecification({_RUN: f"prefect.tag.{TAG}"}),
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "TimedOut", "Crashed")},
            for_each={_RUN},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(seconds=0),
        ),
        actions=[
            CallWebhook(block_document_id=block, payload=f"{said}\n{why}\n{page}\n{todo}")
            if block_type == "webhook"
            else SendNotification(
                block_document_id=block, subject=f"PinSage: {said}", body=f"{why}\n\n{page}\n{todo}"
            )
        ],
    )


def keep(silence: int = SILENCE, notify: str | None = None) -> list[str]:
    """Make the automations on the server that Prefect is pointed to, or replace them; their names.

    `notify` is TYPE/NAME of a block; without one, nobody is told, and an earlier automation that
    told somebody is removed. Raises ConfigError where there is no such block.
    """
    with get_client(sync_client=True) as client:
        wanted = [lost_runs(silence)]
        if notify is not None:
            block_type, _, name = notify.partition("/")
            wanted.append(failed_runs(block_type, _block(client, block_type, name)))
        for each in (LOST, FAILED):
            for there in client.read_automations_by_name(each):
                client.delete_automation(there.id)
        for automation in wanted:
            client.create_automation(automation)
    return [automation.name for automation in wanted]


def _block(client: SyncPrefectClient, block_type: str, name: str) -> UUID:
    try:
        return client.read_block_document_by_name(name, block_type).id
    except ObjectNotFound:
        raise ConfigError(
            f"--notify {block_type}/{name}: Prefect has no such block; make one with `prefect "
            f"block create {block_type or 'slack-webhook'}`, and name it as TYPE/NAME"
        ) from None
