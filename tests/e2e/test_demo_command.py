"""`pinsage demo` as a user runs it: a fresh process, no server, twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pinsage.config_text import to_toml

pytestmark = pytest.mark.slow

PINSAGE = [sys.executable, "-c", "from pinsage.cli import main; main()"]


def pinsage(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    own = ("PREFECT_", "MLFLOW_", "PINSAGE_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return subprocess.run(
        [*PINSAGE, *arguments],
        cwd=folder,
        env={**environment, "HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def tiny_file(tmp_path: Path, make_tiny_config: Any) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(to_toml(make_tiny_config(tmp_path)))
    return file


def test_the_demo_shows_results_and_a_second_one_runs_nothing_again(
    tiny_file: Path, tmp_path: Path
) -> None:
    first = pinsage(tmp_path, "demo", "--config", str(tiny_file))
    assert first.returncode == 0, first.stderr
    for part in (
        "Validation",
        "Test",
        "PinSage",
        "popularity",
        "Related items",
        "tale",
        "MLflow run",
    ):
        assert part in first.stdout
    assert "✓ train" in first.stderr
    assert "Traceback" not in first.stderr

    second = pinsage(tmp_path, "demo", "--config", str(tiny_file))
    assert second.returncode == 0, second.stderr
    assert "✓" not in second.stderr
    assert "= train" in second.stderr
    # Matplotlib keeps its list of fonts at home; everything else is below the root.
    assert {file.name for file in tmp_path.iterdir()} <= {"tiny.toml", "data", "var", "home"}
    assert {file.name for file in tmp_path.glob("home/*")} <= {".cache", ".config"}

    asked = pinsage(tmp_path, "recommend", "i3", "--config", str(tiny_file), "--json")
    assert json.loads(asked.stdout)["related"]


def test_a_broken_contract_is_one_message_and_exit_code_two(
    tiny_file: Path, tmp_path: Path
) -> None:
    settings = ("--set", "contract.min_interactions=1000000")
    result = pinsage(tmp_path, "run", "--config", str(tiny_file), *settings, "--json")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "error: validate: the data breaks its contract" in result.stderr
    assert "Traceback" not in result.stderr
