"""What a failed run leaves on its page: which stage it was, what was found, what to do."""

from __future__ import annotations

import pytest

from flows.nightly import nightly
from flows.remedy import CRASHED, DRIFTED, REMEDIES, UNEXPECTED, remedy
from pinsage import errors
from pinsage.config import Config
from pinsage.errors import ContractError, PinSageError


def test_every_error_that_stops_a_run_has_a_remedy_of_its_own() -> None:
    ours = [e for e in vars(errors).values() if isinstance(e, type) and e is not PinSageError]
    # A graph that contradicts itself is our mistake; the other two never end a flow.
    unexpected = {"GraphError", "UnknownItemError", "AbandonedError"}
    assert {e.__name__ for e in ours if e not in REMEDIES} == unexpected
    assert len(set(REMEDIES.values())) == len(REMEDIES)


def test_it_names_the_stage_and_what_was_found_and_ends_with_what_to_do() -> None:
    error = ContractError("too few\nrows")
    error.add_note("stage validate")
    said = remedy(error, is_crash=False, message="")
    assert said.startswith("# Failed in the stage validate")
    assert "`ContractError: too few rows`" in said
    assert said.splitlines()[-1] == f"**What to do.** {REMEDIES[ContractError]}"


def test_a_night_too_far_from_the_others_is_not_sent_to_the_data_docs() -> None:
    error = ContractError("tonight is too far from the nights before")
    error.add_note("stage input-drift")
    assert remedy(error, is_crash=False, message="").endswith(DRIFTED)


def test_an_error_that_nobody_foresaw_points_to_the_log() -> None:
    assert UNEXPECTED in remedy(ZeroDivisionError("x"), is_crash=False, message="")


def test_a_crash_says_that_the_next_run_resumes_whatever_the_error_was() -> None:
    said = remedy(None, is_crash=True, message="Process exited with status code -9")
    assert "status code -9" in said
    assert said.endswith(CRASHED)


def test_html_in_a_message_is_shown_as_code() -> None:
    said = remedy(ValueError("<script>x</script>"), is_crash=False, message="")
    assert "`ValueError: <script>x</script>`" in said.splitlines()


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("limit", ["min_users", "min_items"])
def test_a_failed_night_leaves_it_on_its_page(tiny_config: Config, limit: str) -> None:
    contract = tiny_config.contract.model_copy(update={limit: 10**6})
    state = nightly(tiny_config.model_copy(update={"contract": contract}), return_state=True)
    left = artifact_of(str(state.state_details.flow_run_id))
    assert left.startswith("# Failed in the stage validate\n\n`ContractError: ")
    assert f"contract.{limit}" in left
    assert REMEDIES[ContractError] in left


def artifact_of(flow_run: str) -> str:
    """The artifact `remedy` of a flow run."""
    from uuid import UUID

    from prefect import get_client
    from prefect.client.schemas import filters

    of_run = filters.ArtifactFilterFlowRunId(any_=[UUID(flow_run)])
    key = filters.ArtifactFilterKey(any_=["remedy"])
    with get_client(sync_client=True) as client:
        [found] = client.read_artifacts(
            artifact_filter=filters.ArtifactFilter(flow_run_id=of_run, key=key)
        )
    return str(found.data)
