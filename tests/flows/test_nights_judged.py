"""Nights that the gate refuses, asks about or lets through, and what stands in their way."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import mlflow
import pytest
from prefect import flow, get_client
from typer.testing import CliRunner

from flows import approval, infra, judging, rollback
from flows.nightly import NightlyResult, nightly
from flows.registration import CHALLENGER, CHAMPION, Registered
from flows.settings import mlflow_database
from pinsage.cli import command_line
from pinsage.config import Config, changed
from pinsage.retrieval.history import read_history
from pinsage.retrieval.published import load_published
from pinsage.retrieval.shelf import shelf
from pinsage.retrieval.versions import current_version, list_versions
from pinsage.store import Artifact, Store, open_artifact

MODEL = "pinsage-tiny"
# Another rate is another model; on a data set this small it would only be asked about.
OTHER = {"training.learning_rate": 0.01}
# No stability is wanted that a second model could not have; nothing is undecided.
LENIENT = {"gate.undecided": "promote", "gate.min_overlap": 0.0}

pytestmark = pytest.mark.usefixtures("prefect_api")


def pinsage(*arguments: object) -> Any:
    return CliRunner().invoke(command_line(), [str(each) for each in arguments])


def champion(config: Config, alias: str = CHAMPION) -> str:
    client = mlflow.MlflowClient(mlflow_database(config.root))
    return str(client.get_model_version_by_alias(MODEL, alias).tags["published"])


def book_of(config: Config, result: NightlyResult) -> dict[str, Any]:
    book: dict[str, Any] = json.loads((config.root / "runs" / f"{result.run_id}.json").read_text())
    return book


def last_book(config: Config) -> dict[str, Any]:
    newest = max((config.root / "runs").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    book: dict[str, Any] = json.loads(newest.read_text())
    return book


@pytest.fixture
def after_one(first_night: Any, tmp_path: Path) -> Config:
    """A copy of all that one promoted night has left, its data and MLflow's files too."""
    shutil.copytree(first_night.config.root.parent, tmp_path, dirs_exist_ok=True)
    _moved(tmp_path / "var" / "mlflow.db", first_night.config.root, tmp_path / "var")
    config: Config = changed(
        first_night.config,
        {
            "root": str(tmp_path / "var"),
            "data.interactions.path": str(tmp_path / "data" / "interactions.csv"),
            "data.items.path": str(tmp_path / "data" / "items.csv"),
        },
    )
    return config


@pytest.mark.slow
def test_a_refused_night_moves_nobody_and_is_refused_again(after_one: Config) -> None:
    before = current_version(after_one.root, "tiny")
    # An overlap of one with another model's neighbours is more than any training reaches.
    strict = changed(after_one, OTHER | {"gate.undecided": "promote", "gate.min_overlap": 1.0})
    refused = nightly(strict)
    assert (refused.verdict, refused.promoted) == ("refuse", False)
    assert any(reason.startswith("overlap: ") for reason in refused.reasons)
    assert refused.version != before == current_version(strict.root, "tiny")
    assert (champion(strict), champion(strict, CHALLENGER)) == (before, refused.version)
    assert load_published(strict.root, "tiny").version == before
    assert book_of(strict, refused)["state"] == "completed"
    nights = shelf(strict.root, "tiny") / "nights.jsonl"
    assert len(nights.read_text().splitlines()) == 1  # what was refused is not what is usual

    again = nightly(strict)
    assert (again.version, again.verdict, again.promoted) == (refused.version, "refuse", False)
    assert again.reasons == refused.reasons
    assert all(entry["reused"] for entry in book_of(strict, again)["stages"].values())
    assert (current_version(strict.root, "tiny"), champion(strict)) == (before, before)

    state = nightly(changed(strict, {"gate.on_refusal": "fail"}), return_state=True)
    assert state.is_failed()
    for part in (refused.version, *refused.reasons, "--force` switches readers all the same"):
        assert part in str(state.message)
    book = last_book(strict)
    assert (book["state"], book["verdict"], book["error"]) == ("completed", "refuse", None)
    assert all(entry["reused"] for entry in book["stages"].values())  # in no stage's key
    tracked = mlflow.MlflowClient(mlflow_database(strict.root)).get_run(book["mlflow_run_id"])
    assert tracked.info.status == "FINISHED"
    assert "**Verdict: refuse.**" in tracked.data.tags["mlflow.note.content"]
    assert (current_version(strict.root, "tiny"), champion(strict)) == (before, before)

    told = ("--name", "tiny", "--root", strict.root, "--yes")
    stopped = pinsage("promote", refused.version, *told)
    assert stopped.exit_code == 2
    assert "--force" in stopped.stderr
    assert "overlap" in stopped.stderr
    done = pinsage("promote", refused.version, *told, "--force", "--why", "a trial", "--json")
    assert json.loads(done.stdout)["moved"] == [
        "embeddings", f"models:/{MODEL}@{CHAMPION} is its version 2",
    ]  # fmt: skip
    assert current_version(strict.root, "tiny") == champion(strict) == refused.version
    last = read_history(shelf(strict.root, "tiny"))[-1]
    assert (last["forced"], last["why"]) == (True, "a trial")


@pytest.mark.slow
def test_a_question_ends_with_the_command_that_answers_it(after_one: Config) -> None:
    before = current_version(after_one.root, "tiny")
    asking = changed(after_one, OTHER | LENIENT | {"gate.approval": True})
    asked = nightly(asking)
    assert (asked.verdict, asked.promoted) == ("ask", False)
    assert current_version(asking.root, "tiny") == before
    client = mlflow.MlflowClient(mlflow_database(asking.root))
    assert asked.mlflow_run_id is not None
    note = client.get_run(asked.mlflow_run_id).data.tags["mlflow.note.content"]
    command = f"pinsage promote {asked.version} --name tiny --root {asking.root}"
    assert f"`{command}`" in note
    assert pinsage(*command.split()[1:], "--yes").exit_code == 0
    assert current_version(asking.root, "tiny") == champion(asking) == asked.version
    assert [each.verdict for each in list_versions(asking.root, "tiny")] == ["", ""]

    again = nightly(asking)  # what is followed is asked about no more
    assert (again.version, again.promoted) == (asked.version, True)


@pytest.mark.slow
def test_neither_moves_where_mlflow_is_gone_at_promotion_and_a_retry_moves_both(
    after_one: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = current_version(after_one.root, "tiny")
    config = changed(after_one, OTHER | LENIENT)
    monkeypatch.setattr(judging.promote, "retries", 0)
    # Registered a moment ago; gone when the alias is to move.
    monkeypatch.setattr(rollback, "_registry", lambda *_: ("http://127.0.0.1:9", MODEL))
    state = nightly(config, return_state=True)
    assert state.is_failed()
    assert "did not move the alias" in str(state.message)
    assert current_version(config.root, "tiny") == champion(config) == before
    [made] = [each for each in list_versions(config.root, "tiny") if not each.current]
    assert made.verdict == "promote"

    monkeypatch.undo()
    done = nightly(config)
    assert (done.version, done.promoted) == (made.version, True)
    assert current_version(config.root, "tiny") == champion(config) == made.version


class TestInfra:
    def test_a_damaged_model_is_a_reason(self, after_one: Config) -> None:
        found = _asked(after_one, damaged=False)
        assert (found.facts["neighbours"], found.facts["dimension"]) == (3, 8)
        assert _asked(after_one, damaged=False).reused
        with pytest.raises(infra.InfraError, match=r"does not load and answer.*checksum"):
            _asked(after_one, damaged=True)

    def test_a_model_that_hangs_is_a_reason(self, after_one: Config) -> None:
        with pytest.raises(infra.InfraError, match=r"no answer within 0\.01 s"):
            infra.ask({"uri": ""}, "the version", 0.01)

    def test_without_a_registry_the_version_itself_is_asked(self, after_one: Config) -> None:
        found = _asked(after_one, damaged=False, registered=False)
        assert found.manifest.settings["through"] == "the published version"
        assert found.facts["dimension"] == 8


def _asked(config: Config, *, damaged: bool, registered: bool = True) -> Artifact:
    from pinsage.retrieval.publish import Version

    path = shelf(config.root, "tiny") / current_version(config.root, "tiny")
    uri = mlflow_database(config.root)
    client = mlflow.MlflowClient(uri)
    if damaged:
        for file in (config.root / "mlartifacts").rglob("vectors.npy"):
            file.write_bytes(b"damaged" + file.read_bytes()[7:])
        shutil.rmtree(config.root / "stages" / "infra")
    number = str(client.get_model_version_by_alias(MODEL, CHAMPION).version)
    ingested = open_artifact(next((config.root / "stages" / "ingest").glob("[!.]*")))
    return infra.check(
        Store(config.root), Version(path.name, path, reused=True),
        Registered(MODEL, number, reused=True) if registered else None, uri, ingested,
    )  # fmt: skip


def _moved(database: Path, old: Path, new: Path) -> None:
    """Every address in a copy of MLflow's database leads to the copy."""
    with sqlite3.connect(database) as opened:
        tables = opened.execute("select name from sqlite_master where type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, kind, *_ in opened.execute(f"pragma table_info({table})").fetchall():
                if "CHAR" in kind or "TEXT" in kind:
                    opened.execute(
                        f"update {table} set {column} = replace({column}, ?, ?)",  # noqa: S608
                        (str(old), str(new)),
                    )


class TestApproval:
    @pytest.mark.parametrize("promote", [True, False])
    def test_the_run_waits_and_hears_the_answer(
        self, promote: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(approval, "POLL", 1)

        @flow
        def waits() -> approval.Answer:
            return approval.ask("Are readers to follow it?", 0.01)

        meanwhile: list[str] = []
        answers = threading.Thread(target=_answer, args=(promote, meanwhile))
        answers.start()
        found = waits()
        answers.join()
        assert meanwhile == ["waits: RUNNING"]  # paused, it would lose its place, and crash
        verb = "promoted" if promote else "refused"
        assert (found.promote, found.told) == (promote, f"{verb} by Ada: a reason")
        assert (found.by, found.is_given) == ("Ada", True)

    def test_nobodys_answer_is_a_refusal_and_the_run_completes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(approval, "POLL", 1)

        @flow
        def lonely() -> approval.Answer:
            return approval.ask("Are readers to follow it?", 1 / 3600)

        state = lonely(return_state=True)
        assert state.is_completed()
        found = state.result()
        assert (found.promote, found.is_given) == (False, False)
        assert "nobody answered" in found.told


def _answer(promote: bool, meanwhile: list[str]) -> None:
    """Answer the paused run; notes the state of the run that asks."""
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateType as OfType
    from prefect.client.schemas.objects import StateType

    is_paused = FlowRunFilter(state=FlowRunFilterState(type=OfType(any_=[StateType.PAUSED])))
    deadline = time.monotonic() + 60
    with get_client(sync_client=True) as client:
        while time.monotonic() < deadline:
            if paused := client.read_flow_runs(flow_run_filter=is_paused):
                [run] = paused
                assert run.parent_task_run_id is not None
                task = client.read_task_run(run.parent_task_run_id)
                assert task.flow_run_id is not None
                asking = client.read_flow_run(task.flow_run_id)
                name = client.read_flow(asking.flow_id).name
                meanwhile.append(f"{name}: {asking.state and asking.state.type.value}")
                client.resume_flow_run(
                    run.id, {"promote": promote, "why": "a reason", "who": "Ada"}
                )
                return
            time.sleep(0.3)
