"""A rollback moves readers and the model's alias together, or neither."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from flows import registration
from flows.registration import CHALLENGER, CHAMPION
from flows.settings import mlflow_database
from flows.tracking import connected
from pinsage.cli import command_line
from pinsage.config import Config, changed
from pinsage.retrieval import history
from pinsage.retrieval.publish import Version, publish
from pinsage.retrieval.versions import current_version
from pinsage.store import Facts, Store, Workspace

MODEL = "pinsage-tiny"


def pinsage(*arguments: object) -> Result:
    result: Any = CliRunner().invoke(command_line(), [str(each) for each in arguments])
    return result  # type: ignore[no-any-return]


def published(config: Config, run: SimpleNamespace, edition: int) -> Version:
    vectors = np.load(run.embed.file("embeddings.npy")) * np.float32(edition)

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", vectors)
        return dict(run.embed.facts)

    embedded = Store(config.root).stage(
        "embed", embed, settings={"edition": edition}, inputs={}, code=("pinsage.errors",)
    )
    return publish(
        config, ingested=run.ingest, built=run.full_graph, trained=run.train,
        evaluated=run.evaluate, embedded=embedded, indexed=run.index, reported=run.report,
    )  # fmt: skip


def register(config: Config, version: Version) -> str:
    with connected(config) as tracker:
        tracker.begin("nightly", {})
        with tracker.stage("register") as child:
            assert child.run_id is not None
            return registration.register(tracker.link.client, config, version, child.run_id).version


def alias(config: Config, name: str = CHAMPION) -> str:
    client = mlflow.MlflowClient(mlflow_database(config.root))
    return str(client.get_model_version_by_alias(MODEL, name).version)


@pytest.fixture
def two(tiny_config: Config, tiny_run: SimpleNamespace) -> list[Version]:
    """Two versions, both registered."""
    versions = []
    for edition in (1, 2):
        versions.append(published(tiny_config, tiny_run, edition))
        assert register(tiny_config, versions[-1]) == str(edition)
    return versions


def test_both_move_and_a_retry_moves_nothing_more(tiny_config: Config, two: list[Version]) -> None:
    root = tiny_config.root
    for _ in range(2):
        done = pinsage("rollback", two[0].name, "--why", "worse", "--root", root, "--yes", "--json")
        assert json.loads(done.stdout) == {
            "name": "tiny",
            "version": two[0].name,
            "moved": ["embeddings", f"models:/{MODEL}@{CHAMPION} is its version 1"],
        }
        assert (current_version(root, "tiny"), alias(tiny_config)) == (two[0].name, "1")
    assert history.read_history(two[0].path.parent)[-1]["why"] == "worse"
    assert alias(tiny_config, CHALLENGER) == "2"

    # A night over unchanged inputs registers what was withdrawn, and makes it no champion.
    register(tiny_config, two[1])
    assert (current_version(root, "tiny"), alias(tiny_config)) == (two[0].name, "1")


def test_neither_moves_where_mlflow_does_not_answer(
    tiny_config: Config, two: list[Version], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tiny_config.root
    monkeypatch.setattr(registration, "registered_as", lambda *_: {"uri": "http://127.0.0.1:9"})
    refused = pinsage("rollback", "--root", root, "--yes")
    assert refused.exit_code == 2
    assert "did not move the alias" in refused.stderr
    assert "--embeddings-only" in refused.stderr
    assert current_version(root, "tiny") == two[1].name

    done = pinsage("rollback", "--root", root, "--yes", "--embeddings-only", "--json")
    assert json.loads(done.stdout)["moved"] == ["embeddings"]
    assert (current_version(root, "tiny"), alias(tiny_config)) == (two[0].name, "2")

    monkeypatch.undo()  # MLflow is back: the same rollback, by name, brings the alias along
    assert pinsage("rollback", two[0].name, "--root", root, "--yes").exit_code == 0
    assert (current_version(root, "tiny"), alias(tiny_config)) == (two[0].name, "1")


def test_the_alias_goes_back_where_the_embeddings_cannot_move(
    tiny_config: Config, two: list[Version]
) -> None:
    file = two[0].path.parent / history.FILE
    file.unlink()
    file.mkdir()  # no line can be written, so nothing may be switched
    refused = pinsage("rollback", "--root", tiny_config.root, "--yes")
    assert refused.exit_code == 2
    assert "nothing is switched without a line in it" in refused.stderr
    assert (current_version(tiny_config.root, "tiny"), alias(tiny_config)) == (two[1].name, "2")


def test_where_there_was_no_alias_none_is_left(tiny_config: Config, two: list[Version]) -> None:
    client = mlflow.MlflowClient(mlflow_database(tiny_config.root))
    client.delete_registered_model_alias(MODEL, CHAMPION)
    file = two[0].path.parent / history.FILE
    file.unlink()
    file.mkdir()
    assert pinsage("rollback", "--root", tiny_config.root, "--yes").exit_code == 2
    assert CHAMPION not in client.get_registered_model(MODEL).aliases


def test_neither_moves_to_a_version_that_was_never_registered(
    tiny_config: Config, two: list[Version], tiny_run: SimpleNamespace
) -> None:
    third = published(tiny_config, tiny_run, 3)
    assert pinsage("rollback", "--root", tiny_config.root, "--yes").exit_code == 0
    refused = pinsage("rollback", third.name, "--root", tiny_config.root, "--yes")
    assert "is not registered as a version of" in refused.stderr
    assert (current_version(tiny_config.root, "tiny"), alias(tiny_config)) == (two[1].name, "2")


def test_where_the_model_is_registered_is_remembered_without_secrets(
    tiny_config: Config, two: list[Version]
) -> None:
    found = registration.registered_as(tiny_config.root, "tiny")
    assert found == {"model": MODEL, "uri": ""}
    secret = changed(tiny_config, {"tracking.uri": "postgresql://me:canary@host/mlflow"})
    registration._remember(two[0].path.parent, secret, MODEL)
    assert "canary" not in (two[0].path.parent / "registered.json").read_text()


def test_without_mlflow_the_embeddings_move_alone(
    tmp_path: Path, tiny_config: Config, tiny_run: SimpleNamespace
) -> None:
    config = changed(tiny_config, {"root": str(tmp_path / "elsewhere")})
    first, _ = published(config, tiny_run, 1), published(config, tiny_run, 2)
    shutil.rmtree(config.root / "mlflow.db", ignore_errors=True)
    done = pinsage("rollback", "--root", config.root, "--yes", "--json")
    assert json.loads(done.stdout)["moved"] == ["embeddings"]
    assert current_version(config.root, "tiny") == first.name
