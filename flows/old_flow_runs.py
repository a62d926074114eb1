"""Ended Prefect flow runs that are old: counting and removing them through Prefect's API.

On a server of many only runs with the tag of our deployments are ours; an embedded Prefect has no
others. A server can do the same by itself: PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED=flow_runs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.exceptions import ObjectNotFound

from flows.settings import TAG

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

_PAGE = 200


def remove_flow_runs(days: int, now: datetime, *, only_tagged: bool, dry_run: bool) -> int:
    """Remove what ended more than `days` ago, 0 for never; how many runs those are.

    Raises what Prefect's client raises where the API does not answer.
    """
    if days == 0:
        return 0
    asked = FlowRunFilter(
        end_time=FlowRunFilterEndTime(before_=now - timedelta(days=days)),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=sorted(TERMINAL_STATES))),
        tags=FlowRunFilterTags(all_=[TAG]) if only_tagged else None,
    )
    count = 0
    with get_client(sync_client=True) as client:
        while page := _page(asked, offset=count if dry_run else 0):
            count += len(page)
            for run in () if dry_run else page:
                try:
                    client.delete_flow_run(run.id)
                except ObjectNotFound:
                    pass  # the server's own retention was quicker
    return count


def _page(asked: FlowRunFilter, offset: int) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(flow_run_filter=asked, limit=_PAGE, offset=offset)
