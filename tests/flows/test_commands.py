"""The pipeline's commands: what they refuse, and what a run looks like in a terminal."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from flows.console import related_table, result_table, stage_lines
from flows.progress import StageEvent, announce
from flows.results import Cell, Period, read_periods, table_rows
from flows.showcase import shown_rows
from pinsage.cli import command_line
from pinsage.retrieval.published import open_version


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(command_line(), list(arguments))


@pytest.fixture
def screen() -> Console:
    return Console(file=StringIO(), width=120, color_system=None)


def text_of(screen: Console) -> str:
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def test_a_demo_of_unknown_data_lists_those_there_are() -> None:
    result = invoke("demo", "--data", "moon")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "--data moon: no moon.toml in" in message
    assert "movielens-100k" in message


def test_data_and_a_configuration_file_exclude_each_other() -> None:
    result = invoke("demo", "--data", "movielens-100k", "--config", "x.toml")
    assert result.exit_code == 2
    assert "give one of them" in result.stderr


@pytest.mark.parametrize("command", ["run", "validate", "train", "publish"])
def test_a_missing_configuration_file_is_named(command: str, tmp_path: Path) -> None:
    result = invoke(command, "--config", str(tmp_path / "no.toml"))
    assert result.exit_code == 2
    assert f"{tmp_path / 'no.toml'}: no such configuration file" in "".join(
        result.stderr.splitlines()
    )


def test_the_commands_are_there_without_prefect_mlflow_or_torch() -> None:
    heavy = "{'prefect', 'mlflow', 'torch', 'pandas', 'great_expectations'}"
    code = f"import sys, flows.commands; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_stage_is_one_line_with_its_cost_or_that_it_was_unchanged(screen: Console) -> None:
    logging.getLogger("flows").setLevel(logging.INFO)
    with stage_lines(screen):
        announce(StageEvent("ingest", "running"))
        announce(StageEvent("ingest", "done", "", 1.25, 310.0))
        announce(StageEvent("train", "reused"))
        announce(StageEvent("embed", "failed", "ContractError"))
        logging.getLogger("flows.tracking").warning("MLflow is [b]away[/b]")
    done, reused, failed, warning = text_of(screen).splitlines()
    assert re.fullmatch(r"✓ ingest +1\.2 s +peak +310 MiB", done)
    assert re.fullmatch(r"= train +unchanged", reused)
    assert re.fullmatch(r"✗ embed +ContractError", failed)
    assert warning == "warning: MLflow is [b]away[/b]"


def period() -> Period:
    cells = {
        "popularity": {
            "hit_rate_10": Cell(0.25, 0.2, 0.3, False),
            "mrr": Cell(0.5, 0.4, 0.6, True),
        },
        "PinSage": {"hit_rate_10": Cell(0.5, 0.4, 0.6, True), "mrr": Cell(0.05, 0.04, 0.06, False)},
    }
    return Period(
        title="Test",
        metrics=["hit_rate_10", "mrr"],
        chance={"hit_rate_10": 0.125},
        confidence=0.95,
        num_pairs=1234,
        num_users=10,
        num_items=80,
        cells=cells,
    )


def test_the_result_table_puts_chance_beside_the_hit_rate_and_intervals_below(
    screen: Console,
) -> None:
    screen.print(result_table(period()))
    shown = text_of(screen)
    for part in ("HR@10", "K/N 12.5%", "MRR", ".500", ".400–.600", ".0500", "1,234 pairs", "95%"):
        assert part in shown


def test_the_table_that_can_be_sorted_has_a_row_a_method() -> None:
    rows = list(table_rows([period()]))
    assert [row["method"] for row in rows] == ["popularity", "PinSage"]
    assert rows[1]["HR@10"] == "0.5000"
    assert rows[1]["interval of MRR"] == "0.0400 to 0.0600"


def test_the_tables_of_a_real_evaluation_agree_with_its_facts(tiny_run: SimpleNamespace) -> None:
    _, test = read_periods(tiny_run.evaluate)
    assert test.cells["PinSage"]["mrr"].value == tiny_run.evaluate.facts["test_mrr"]
    for metric in test.metrics:
        best = max(cells[metric].value for cells in test.cells.values())
        assert {c[metric].value for c in test.cells.values() if c[metric].best} == {best}


def test_titles_are_shown_as_text_never_as_markup(screen: Console, tiny_run: Any) -> None:
    version = open_version(tiny_run.version.path)
    version.items["title"] = "[red]tale[/red] [link=x]"
    screen.print(related_table(version, [0], 2))
    assert "[red]tale[/red] [link=x]" in text_of(screen)


def test_the_most_popular_items_are_shown_where_no_title_is_well_known(
    tiny_run: SimpleNamespace,
) -> None:
    version = open_version(tiny_run.version.path)
    rows = shown_rows(version, tiny_run.ingest.path)
    import pyarrow.parquet as pq

    counts = pq.read_table(tiny_run.ingest.path / "interactions.parquet").to_pandas()
    degree = counts["item_row"].value_counts()
    assert sorted(degree[rows]) == sorted(degree.nlargest(3))


def test_embed_takes_its_engine_and_cluster_as_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "films.toml"
    file.write_text('name = "films"\n[data.interactions]\npath = "plays.csv"\n')
    seen: list[Any] = []

    def noted(name: str, config: Any) -> Any:
        seen.append((name, config.embed.engine, config.embed.address))
        return SimpleNamespace(path=tmp_path, reused=False)

    monkeypatch.setattr("flows.commands._run_flow", noted)
    options = ("--engine", "ray", "--address", "127.0.0.2:6379")
    assert invoke("embed", "-c", str(file), *options).exit_code == 0
    assert invoke("embed", "-c", str(file), "--set", "embed.engine=ray").exit_code == 0
    assert seen == [("embed", "ray", "127.0.0.2:6379"), ("embed", "ray", "local")]
    refused = invoke("embed", "-c", str(file), "--engine", "spark")
    assert refused.exit_code == 2
    assert "embed.engine" in refused.stderr
    assert len(seen) == 2
