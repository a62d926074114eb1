"""What `pinsage demo` shows at the end: results, stages, related items, and where things lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from flows import console as draw
from flows.results import read_periods, verdicts
from flows.settings import mlflow_database
from flows.tracking import tracking_uri
from pinsage.config import Config
from pinsage.errors import UnknownItemError
from pinsage.retrieval.publish import REPORT
from pinsage.retrieval.published import Published, load_published
from pinsage.store import open_artifact

if TYPE_CHECKING:
    from flows.nightly import NightlyResult

# Titles that people know, in whichever catalog has them.
WELL_KNOWN = ("Toy Story", "Star Wars", "GoldenEye", "Fargo", "YOGURT", "BEER", "CAT FOOD")
NUM_SHOWN = 3
NUM_RELATED = 8


def show(config: Config, result: NightlyResult) -> None:
    """Print it all to the terminal."""
    console = Console()
    book = read_book(config.root, result.run_id)
    stages = book["stages"]
    console.print(_stage_table(stages))
    evaluated = open_artifact(Path(stages["evaluate"]["path"]))
    for period in read_periods(evaluated):
        console.print(draw.result_table(period))
    for verdict in verdicts(evaluated):
        console.print(verdict, highlight=False)
    version = load_published(config.root, config.name, result.version)
    rows = shown_rows(version, Path(stages["ingest"]["path"]))
    console.print(draw.related_table(version, rows, NUM_RELATED))
    title = str(version.items["title"].iloc[rows[0]])
    console.print(draw.places_table(_places(config, result, version.path, evaluated.path, title)))


def read_book(root: Path, run_id: str) -> dict[str, Any]:
    """The record of a run that `flows.session` wrote."""
    book: dict[str, Any] = json.loads((root / "runs" / f"{run_id}.json").read_text())
    return book


def shown_rows(version: Published, ingested: Path) -> list[int]:
    """Rows of well-known titles, filled up with the items most interacted with."""
    rows: list[int] = []
    for title in WELL_KNOWN:
        try:
            rows.append(version.find(title))
        except UnknownItemError:
            continue
    table = pq.read_table(ingested / "interactions.parquet", columns=["item_row"])
    degree = np.bincount(table["item_row"].to_numpy(), minlength=len(version.items))
    popular = np.argsort(-degree, kind="stable")[: NUM_SHOWN + len(rows)].tolist()
    return list(dict.fromkeys([*rows, *popular]))[:NUM_SHOWN]


def _stage_table(stages: dict[str, dict[str, Any]]) -> Table:
    table = Table(title="Stages", title_justify="left")
    table.add_column("stage")
    for name in ("seconds", "peak MiB", "this run"):
        table.add_column(name, justify="right")
    for name, entry in stages.items():
        cost = (f"{entry['seconds']:.1f}", f"{entry['peak_mib']:,.0f}")
        table.add_row(name, *cost, "unchanged" if entry["reused"] else "made")
    return table


def _places(
    config: Config, result: NightlyResult, version: Path, evaluated: Path, title: str
) -> dict[str, str | Path]:
    uri = tracking_uri(config)
    seen = "`pinsage ui` shows it" if uri == mlflow_database(config.root) else uri
    where = "" if config.root == Path("var") else f" --root {config.root}"
    return {
        "published": version,
        "report": version / REPORT,
        "tables": evaluated / "table.md",
        "MLflow run": f"{result.mlflow_run_id or 'not tracked'} ({seen})",
        "model": result.model or "not registered",
        "record": config.root / "runs" / f"{result.run_id}.json",
        "gate": f"{result.verdict}; {'readers follow it' if result.promoted else 'readers stay'}: "
        + "; ".join(result.reasons),
        "next": f'pinsage recommend "{title}" --name {config.name}{where}',
    }
