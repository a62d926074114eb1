"""Backup and restore as docs/operations.md has them: the order, the copy, and what works after."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from typer.testing import CliRunner

from flows.settings import mlflow_database
from pinsage.cli import command_line


def backed_up(root: Path, backup: Path) -> None:
    """The documented order; each artifact and version is immutable, each database consistent."""
    backup.mkdir()
    with sqlite3.connect(root / "mlflow.db") as source, sqlite3.connect(backup / "mlflow.db") as to:
        source.backup(to)
    for folder in ("published", "mlartifacts", "stages", "runs"):
        shutil.copytree(root / folder, backup / folder)


def statements(repository: Path) -> str:
    text = (repository / "docs" / "operations.md").read_text()
    [found] = re.findall(r"<!-- restore -->\n```sql\n(.*?)```", text, re.DOTALL)
    return str(found)


@pytest.mark.slow
def test_a_root_restored_elsewhere_recommends_and_its_registered_model_loads(
    first_night: Any, tmp_path: Path, repository: Path
) -> None:
    old = first_night.config.root.resolve()
    backed_up(old, tmp_path / "backup")
    new = tmp_path / "elsewhere" / "var"
    shutil.copytree(tmp_path / "backup", new)
    sql = statements(repository).replace("OLD", str(old)).replace("NEW", str(new))
    with sqlite3.connect(new / "mlflow.db") as database:
        database.executescript(sql)
    hidden = old.with_name("hidden")
    os.rename(old, hidden)  # so that nothing can be read from where it was
    try:
        answer = CliRunner().invoke(
            command_line(), ["recommend", "i0", "--root", str(new), "--json"]
        )
        assert answer.exit_code == 0, answer.stderr
        related = json.loads(answer.stdout)["related"]
        mlflow.set_tracking_uri(mlflow_database(new))
        try:
            model = mlflow.pyfunc.load_model(first_night.result.model)
            found = model.predict(pd.DataFrame({"item_id": ["i0"]}), params={"k": 10})
        finally:
            mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # None unsets it
        assert found["neighbour_id"].tolist() == [each["item_id"] for each in related]
        parent = mlflow.MlflowClient(mlflow_database(new)).list_artifacts(
            first_night.result.mlflow_run_id
        )
        assert "config.toml" in [file.path for file in parent]
        explained = CliRunner().invoke(command_line(), ["explain", "i0", "i1", "--root", str(new)])
        assert explained.exit_code == 0, explained.stderr
    finally:
        os.rename(hidden, old)


@pytest.mark.slow
def test_no_address_of_the_old_place_is_left_in_the_restored_database(
    first_night: Any, tmp_path: Path, repository: Path
) -> None:
    old = first_night.config.root.resolve()
    copy = tmp_path / "mlflow.db"
    with sqlite3.connect(old / "mlflow.db") as source, sqlite3.connect(copy) as database:
        source.backup(database)
        sql = statements(repository).replace("OLD", str(old)).replace("NEW", "/elsewhere")
        database.executescript(sql)
        asked = "SELECT name FROM sqlite_master WHERE type = 'table'"
        kept = {
            table
            for (table,) in database.execute(asked).fetchall()
            for row in database.execute(f'SELECT * FROM "{table}"')  # noqa: S608  # its own
            if any(f"file://{old}/" in str(value) for value in row)
        }
    # What a run has noted of itself: where its data lay, and its parameters. Nothing is read there.
    assert kept <= {"datasets", "inputs", "tags", "params", "model_version_tags"}
