"""`pinsage gc` after real nights: what the next one needs is there, and what is old is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.gc import size
from flows.old_tracking import (
    Family,
    families_of,
    old_families,
    purge,
    registered_runs,
    remove,
)
from flows.settings import mlflow_artifacts, mlflow_database
from pinsage.config import Config, RetentionConfig, changed
from pinsage.retention.plan import Plan, collect

DAY_MS = 86_400_000
SHORT = RetentionConfig(runs=1, young_days=0)


@dataclass(frozen=True)
class Nights:
    """Three nights, each with another configuration, and what was removed after them."""

    config: Config  # of the last night
    versions: tuple[str, ...]
    collected: Plan
    there_before: frozenset[str]


def artifacts(root: Path) -> frozenset[str]:
    return frozenset(str(p.relative_to(root)) for p in (root / "stages").glob("*/[!.]*"))


@pytest.fixture(scope="module")
def nights(
    prefect_api: None, tmp_path_factory: pytest.TempPathFactory, make_tiny_config: Any
) -> Nights:
    from flows.evaluate import evaluate
    from flows.nightly import nightly

    first = make_tiny_config(
        tmp_path_factory.mktemp("gc"),
        publish={"keep": 2},
        # So small a data set has too few users to decide, and trainings that have little in common.
        gate={"undecided": "promote", "min_overlap": 0.0},
        evaluation={"baselines": ["popularity"], "trials": 1},
    )
    second = changed(first, {"training.epochs": 1})
    third = changed(second, {"neighbourhoods.walks": 25})
    evaluate(second)
    evaluate(second)
    versions = tuple(nightly(config).version for config in (first, second, third))
    before = artifacts(third.root)
    return Nights(third, versions, collect(third.root, SHORT), before)


@pytest.mark.slow
class TestAfterNights:
    def test_something_went_and_what_went_is_what_was_said(self, nights: Nights) -> None:
        gone = {entry.path for entry in nights.collected.going if entry.kind == "artifact"}
        assert not nights.collected.in_use, "a flow lets go of its store when it ends"
        assert any(path.startswith("stages/train/") for path in gone)
        assert nights.collected.frees > 0

    def test_the_next_night_finds_everything_that_it_would_have_found(self, nights: Nights) -> None:
        from flows.nightly import nightly

        result = nightly(nights.config)
        record = json.loads((nights.config.root / "runs" / f"{result.run_id}.json").read_text())
        assert [name for name, entry in record["stages"].items() if not entry["reused"]] == []
        assert result.version == nights.versions[-1]

    def test_every_kept_version_can_be_rolled_back_to_and_explained(self, nights: Nights) -> None:
        from pinsage.explain.evidence import load_evidence
        from pinsage.explain.explanation import explain
        from pinsage.retrieval.published import load_published
        from pinsage.retrieval.versions import rollback

        root = nights.config.root
        for version in (*nights.versions[1:], *nights.versions[1:]):
            rollback(root, "tiny", version)
            opened = load_published(root, "tiny")
            found = explain(load_evidence(root, opened), 0, 1, count=3, contexts=0)
            assert found is not None
            assert opened.version == version

    def test_a_night_with_the_configuration_of_an_old_one_makes_it_again(
        self, nights: Nights
    ) -> None:
        from flows.train import train

        old = changed(nights.config, {"training.epochs": 2, "neighbourhoods.walks": 20})
        assert not train(old).reused
        assert artifacts(old.root) <= nights.there_before, "under the very keys it had"

    def test_old_mlflow_runs_go_with_their_files_unless_a_model_is_of_them(
        self, nights: Nights
    ) -> None:
        root, uri = nights.config.root, mlflow_database(nights.config.root)
        client = mlflow.MlflowClient(uri, uri)
        families = families_of(client, ["tiny"])
        assert sorted({family.flow for family in families}) >= ["evaluate", "nightly"]
        registered = registered_runs(client, families)
        later = round(time.time() * 1000) + 100 * DAY_MS
        going = old_families(families, registered, SHORT, later)
        evaluations = sorted((f for f in families if f.flow == "evaluate"), key=lambda f: f.started)
        assert evaluations[0] in going
        assert evaluations[-1] not in going, "the newest of its flow"
        [parent_files] = mlflow_artifacts(root).glob(f"*/{evaluations[0].parent}")
        models = {f.parent for f in families if set(f.members) & registered}
        assert len(models) == 3, "each of the three nights registered its version"
        assert not models & {f.parent for f in going}

        remove(client, going)
        left = {family.parent for family in families_of(client, ["tiny"])}
        assert left == {f.parent for f in families} - {f.parent for f in going}
        assert parent_files.exists(), "hidden, not yet freed"
        assert purge(client, uri, root, ["tiny"]) == sum(len(f.members) for f in going)
        assert not parent_files.exists()
        assert purge(client, uri, root, ["tiny"]) == 0
        mlflow.set_tracking_uri(uri)
        try:
            assert mlflow.pyfunc.load_model("models:/pinsage-tiny@champion") is not None
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None unsets it

    def test_ended_flow_runs_go_when_they_are_old_and_ours(self, nights: Nights) -> None:
        from prefect import flow, get_client, tags

        from flows.old_flow_runs import remove_flow_runs

        # What other tests have left on this process's server.
        remove_flow_runs(4, datetime.now(UTC) + timedelta(days=5), only_tagged=True, dry_run=False)

        @flow(name="passing")
        def passing() -> int:
            return 1

        with tags("pinsage"):
            passing()
        with get_client(sync_client=True) as client:
            before = len(client.read_flow_runs(limit=200))
        soon, later = datetime.now(UTC), datetime.now(UTC) + timedelta(days=5)
        assert remove_flow_runs(4, soon, only_tagged=True, dry_run=False) == 0
        assert remove_flow_runs(0, later, only_tagged=True, dry_run=False) == 0
        assert remove_flow_runs(4, later, only_tagged=True, dry_run=True) == 1
        assert remove_flow_runs(4, later, only_tagged=False, dry_run=True) == before
        assert remove_flow_runs(4, later, only_tagged=True, dry_run=False) == 1
        with get_client(sync_client=True) as client:
            assert len(client.read_flow_runs(limit=200)) == before - 1

    def test_the_command_says_what_goes_and_why_the_rest_stays(self, nights: Nights) -> None:
        root = nights.config.root
        environment = {k: v for k, v in os.environ.items() if k != "PREFECT_HOME"}
        run = subprocess.run(
            [
                sys.executable, "-c", "from pinsage.cli import main; main()",
                "gc", "--root", str(root), "--dry-run", "--json",
            ],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr
        answer = json.loads(run.stdout)
        assert answer["dry_run"]
        assert answer["in_use"] is False
        assert answer["mlflow_runs"] == 0
        assert answer["flow_runs"] == 0
        assert {entry["why"] for entry in answer["entries"]} >= {"one of the newest runs"}


FAMILIES = st.lists(
    st.builds(
        Family,
        parent=st.uuids().map(str),
        flow=st.sampled_from(["nightly", "train"]),
        started=st.integers(0, 400),
        last_change=st.integers(0, 400),
        members=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=3).map(tuple),
    ),
    unique_by=(lambda f: f.parent, lambda f: f.started),
    max_size=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FAMILIES, st.sets(st.sampled_from("abcd")), st.integers(1, 3), st.integers(0, 300))
def test_a_family_goes_if_it_is_old_and_outnumbered_and_no_model_is_of_it(
    families: list[Family], registered: set[str], runs: int, days: int
) -> None:
    in_ms = [
        Family(f.parent, f.flow, f.started * DAY_MS, f.last_change * DAY_MS, f.members)
        for f in families
    ]
    policy = RetentionConfig(runs=runs, mlflow_days=days)
    going = {f.parent for f in old_families(in_ms, registered, policy, 300 * DAY_MS)}
    for family in families:
        newer = [f for f in families if f.flow == family.flow and f.started > family.started]
        is_old = days > 0 and family.last_change < 300 - days
        has_model = any(member in registered for member in family.members)
        assert (family.parent in going) == (is_old and len(newer) >= runs and not has_model)


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e12, "2.5 TB")]
)
def test_sizes_are_shown_as_people_read_them(count: float, shown: str) -> None:
    assert size(count) == shown
