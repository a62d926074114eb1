"""How far a stage is: on the spinner's line in a terminal, as an artifact in Prefect."""

from __future__ import annotations

import logging
from io import StringIO
from typing import Any

from rich.console import Console

from flows.console import stage_lines
from flows.progress import MOMENTS, StageEvent, StageMoment, announce, announce_moment
from pinsage.progress import Progress

HALF = Progress("sorting contexts", "edges", 50, 100, 25.0)
WHOLE = Progress("sorting contexts", "edges", 100, 100, 25.0)


def test_a_terminal_shows_it_beside_the_spinner() -> None:
    logging.getLogger("flows").setLevel(logging.INFO)
    screen = Console(file=StringIO(), width=120, force_terminal=True, color_system=None)
    with stage_lines(screen):
        announce(StageEvent("graph-train", "running"))
        announce_moment(StageMoment("graph-train", HALF))
        announce(StageEvent("graph-train", "done", "", 1.0))
    assert isinstance(screen.file, StringIO)
    text = screen.file.getvalue()
    assert "graph-train: sorting contexts: 50 of 100 edges, 25/s, 2 s left …" in text
    assert logging.getLogger(MOMENTS).handlers == []


def test_what_is_no_terminal_shows_finished_stages_alone() -> None:
    screen = Console(file=StringIO(), width=120)
    with stage_lines(screen):
        announce_moment(StageMoment("graph-train", HALF))
    assert isinstance(screen.file, StringIO)
    assert screen.file.getvalue() == ""


def shown() -> dict[str | None, Any]:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return {each.key: each for each in client.read_artifacts()}


def test_prefect_shows_a_long_stage_and_no_short_one(prefect_api: None) -> None:
    from prefect import flow

    from flows.artifacts import StageProgress

    @flow(name="a-long-and-a-short-stage")
    def work() -> None:
        short, long = StageProgress("graph-short"), StageProgress("graph-long", interval=0.0)
        for progress in (HALF, WHOLE):
            short.tell(progress)
            long.tell(progress)

    work()
    artifacts = shown()
    assert "graph-short-progress" not in artifacts
    artifact = artifacts["graph-long-progress"]
    assert artifact.data == 100.0
    assert artifact.description == f"graph-long: {WHOLE}"
