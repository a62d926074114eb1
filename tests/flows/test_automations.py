"""What Prefect's server is told to notice: of our runs alone, and replaced when made again."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.events.schemas.automations import EventTrigger
from typer.testing import CliRunner

from flows.automations import FAILED, LOST, SILENCE, keep, lost_runs
from flows.settings import TAG
from pinsage.cli import command_line
from pinsage.errors import ConfigError, ContractError
from tests.receiver import receiver


def test_silence_is_of_three_heartbeats_of_prefect_yaml(repository: Path) -> None:
    document = yaml.safe_load((repository / "prefect.yaml").read_text())
    beat = int(document["definitions"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert 3 * beat == SILENCE
    trigger = lost_runs().trigger
    assert isinstance(trigger, EventTrigger)
    assert trigger.within == timedelta(seconds=SILENCE)


def test_every_deployment_has_the_tag_and_the_heartbeat(repository: Path) -> None:
    document = yaml.safe_load((repository / "prefect.yaml").read_text())
    for each in document["deployments"]:
        assert TAG in each["tags"]
        assert each["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"]


def test_every_final_state_and_every_pause_ends_the_wait_for_a_sign_of_life() -> None:
    """By the names of the states that Prefect itself can make."""
    from prefect import states

    kinds = ("Completed", "Failed", "Crashed", "Cancelled", "Paused", "Suspended", "AwaitingRetry")
    made = [getattr(states, kind)() for kind in kinds]
    names = {state.name for state in made} | {"TimedOut"}  # which Prefect names in its engine
    trigger = lost_runs().trigger
    assert isinstance(trigger, EventTrigger)
    assert {f"prefect.flow-run.{name}" for name in names} <= set(trigger.expect)


def listed() -> dict[str, Any]:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return {each.name: each for each in client.read_automations() if TAG in each.name}


@pytest.mark.usefixtures("prefect_api")
class TestOnAServer:
    def test_made_again_they_are_replaced(self) -> None:
        assert keep(40) == [LOST]
        assert keep(50) == [LOST]
        found = listed()
        assert list(found) == [LOST]
        assert found[LOST].trigger.within == timedelta(seconds=50)
        assert found[LOST].enabled

    def test_a_block_is_told_until_none_is_named(self) -> None:
        from prefect.blocks.webhook import Webhook

        Webhook(url="http://127.0.0.1:9/").save("pager", overwrite=True)
        assert keep(notify="webhook/pager") == [LOST, FAILED]
        assert listed()[FAILED].actions[0].type == "call-webhook"
        keep()
        assert list(listed()) == [LOST]

    def test_a_block_of_messages_gets_a_subject(self) -> None:
        from prefect.blocks.notifications import SlackWebhook

        SlackWebhook(url="http://127.0.0.1:9/").save("ops", overwrite=True)
        assert keep(notify="slack-webhook/ops") == [LOST, FAILED]
        [action] = listed()[FAILED].actions
        assert action.type == "send-notification"

    @pytest.mark.slow
    def test_a_run_that_fails_is_told_to_a_webhook_once_with_its_name_and_what_to_do(self) -> None:
        from prefect import flow, tags
        from prefect.blocks.webhook import Webhook

        @flow(name="nightly", flow_run_name="a-shop")
        def breaks_its_contract() -> None:
            raise ContractError(f"too few rows ({runs}); mend the source, and run again")

        @flow(name="of-somebody-else", flow_run_name="none-of-ours")
        def fails_too() -> None:
            raise ValueError

        with receiver() as here:
            Webhook(url=f"{here.url}/alarm").save("pager", overwrite=True)
            assert keep(notify="webhook/pager") == [LOST, FAILED]
            deadline, runs = time.monotonic() + 30, 0
            # A server takes up new automations a moment later, so that the first run may be missed.
            while not here.told and time.monotonic() < deadline:
                assert fails_too(return_state=True).is_failed()
                with tags(TAG):
                    assert breaks_its_contract(return_state=True).is_failed()
                runs += 1
                here.arrived.wait(3)
            time.sleep(1)  # whatever else would come
            keep()
        path, body = here.told[0]
        assert path == "/alarm"
        assert body.startswith("a-shop of nightly: Failed\n")
        assert "; mend the source, and run again" in body
        assert body.endswith("so does the artifact `remedy` of a run that failed.")
        assert len({each.body for each in here.told}) == len(here.told)
        assert not [each.body for each in here.told if "none-of-ours" in each.body]

    @pytest.mark.parametrize("name", ["webhook/none", "no-such-type/x", "pager", "/"])
    def test_an_unknown_block_is_named_and_what_there_was_stays(self, name: str) -> None:
        keep(60)
        with pytest.raises(ConfigError, match=r"--notify .*: Prefect has no such block"):
            keep(70, notify=name)
        assert listed()[LOST].trigger.within == timedelta(seconds=60)


def test_without_a_server_the_command_says_where_to_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    result = CliRunner().invoke(command_line(), ["automations"])
    assert result.exit_code != 0
    assert "PREFECT_API_URL: not set" in f"{result.exception} {result.output}"


def test_silence_shorter_than_a_heartbeat_is_refused() -> None:
    result = CliRunner().invoke(command_line(), ["automations", "--silence", "20"])
    assert result.exit_code == 2
    assert "35" in result.output
