"""Great Expectations is kept quiet, is imported late, and fails loudly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from data_contracts.docs import write_docs
from data_contracts.findings import findings
from data_contracts.runner import Runner
from data_contracts.tables import Table
from data_contracts.vocabulary import distinct_at_least, within


def test_the_gate_is_imported_without_great_expectations() -> None:
    code = "import sys, data_contracts.gate; sys.exit('great_expectations' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_analytics_and_progress_bars_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GX_ANALYTICS_ENABLED", "true")
    context = Runner().context
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert context.variables.analytics_enabled is False
    assert context.progress_bars is not None
    assert context.progress_bars["globally"] is False


def test_an_expectation_that_cannot_be_checked_is_a_breach(tmp_path: Path) -> None:
    table = Table("t", pd.DataFrame({"a": ["<em>", "c"]}))
    suite = [distinct_at_least("absent", 2, "two values", hint=""), within("a", 0, 1, "", hint="")]
    checked = Runner().check("t", suite, table)
    breaches, _ = findings([checked])
    assert [breach["column"] for breach in breaches] == ["absent", "a"]
    assert all(breach["found"].startswith("could not be checked (") for breach in breaches)
    write_docs("T", [checked], tmp_path / "docs")
    assert "<em>" not in (tmp_path / "docs" / "t.html").read_text()


def test_no_rows_are_kept_beyond_20_of_any_number_of_offenders() -> None:
    table = Table("t", pd.DataFrame({"a": range(100_000)}), ("a",))
    checked = Runner().check("t", [within("a", -1, -1, "never", hint="")], table)
    [breach], _ = findings([checked])
    assert breach["count"] == 100_000
    assert [row["a"] for row in breach["rows"]] == [str(row) for row in range(20)]
    assert len(str(checked.result.to_json_dict())) < 10_000
