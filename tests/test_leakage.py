"""The future changes nothing of the past: no artifact before the evaluation, not one bit.

Cuts are given as times here, because a share of the interactions is another moment where there
are more of them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.store import Artifact, Store, file_digest

if TYPE_CHECKING:
    from tests.conftest import WriteData

_START = 1_704_067_200  # 2024-01-01 UTC, one interaction an hour
_VALID, _TEST = _START + 1300 * 3600, _START + 1500 * 3600
Row = dict[str, str]
Rows = list[Row]
Edit = Callable[[Rows], Rows]


def row(user: str, item: str, time: int) -> Row:
    return {"user_id": user, "item_id": item, "timestamp": str(time)}


def altered(rows: Rows, since: int, **cells: Callable[[int], str]) -> Rows:
    """The rows from a moment on with other cells; the earlier ones as they are."""
    return [
        {**r, **{name: cell(place) for name, cell in cells.items()}}
        if int(r["timestamp"]) >= since
        else r
        for place, r in enumerate(rows)
    ]


# Each takes the rows and the moment from which on it may change them.
EDITS: dict[str, Callable[[Rows, int], Rows]] = {
    "other items": lambda rows, since: altered(rows, since, item_id=lambda p: f"i{p % 40}"),
    "other users": lambda rows, since: altered(rows, since, user_id=lambda p: f"u{7 * p % 60}"),
    "new users": lambda rows, since: altered(rows, since, user_id=lambda p: f"a{p % 7}"),
    "half of them gone": lambda rows, since: [
        r for p, r in enumerate(rows) if int(r["timestamp"]) < since or p % 2
    ],
    "others added": lambda rows, since: (
        [row(f"u{p % 60}", f"i{p % 40}", since + 61 * p) for p in range(500)] + rows
    ),
    "the past repeated": lambda rows, since: (
        rows + [{**r, "timestamp": str(since + p)} for p, r in enumerate(rows[:400])]
    ),
    "items never seen": lambda rows, since: (
        [row(f"a{p % 9}", f"a{p % 5}", since + p) for p in range(90)] + rows
    ),
}


def make_config(folder: Path, *, has_catalog: bool, **changes: Any) -> Config:
    features = {"title": "text", "group": "categorical", "year": "numerical"}
    items = {"path": str(folder / "items.csv"), "title_column": "title", "features": features}
    interactions = {"path": str(folder / "interactions.csv"), **changes}
    data = {"interactions": interactions, **({"items": items} if has_catalog else {})}
    moments = {"valid_from": _VALID, "test_from": _TEST}
    return parse_config(
        {
            "name": "tiny",
            "root": str(folder / "var"),
            "data": data,
            "split": {k: datetime.fromtimestamp(v, UTC).isoformat() for k, v in moments.items()},
            "neighbourhoods": {"size": 5, "walks": 20},
            "model": {"hidden": 8, "output": 8, "feature_channels": 4, "text_buckets": 16},
            "negatives": {"shared": 8},
            "training": {"epochs": 2, "batch_size": 128},
            "evaluation": {"ks": [5]},
        }
    )


def run_until_evaluation(config: Config) -> SimpleNamespace:
    store, run = Store(config.root), SimpleNamespace()
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    run.split = stages.split(config, store, ingested)
    run.graph = stages.graph(config, store, run.split, run.split)
    run.table = stages.neighbourhoods(config, store, run.graph, run.split)
    run.train = stages.train(config, store, run.split, run.graph, run.table)
    return run


def content(artifact: Artifact) -> dict[str, Any]:
    """Digest of every file, history without its wall times."""
    files = {name: file_digest(artifact.path / name) for name in artifact.manifest.files}
    files.pop("test.parquet", None)
    if "history.json" in files:
        history = json.loads(artifact.file("history.json").read_text())
        files["history.json"] = json.dumps([{**h, "seconds": 0} for h in history])
    return files


@pytest.fixture(scope="module")
def rows(write_tiny_data: WriteData, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    folder = tmp_path_factory.mktemp("rows")
    write_tiny_data(folder)
    with (folder / "interactions.csv").open(newline="") as handle:
        return list(csv.DictReader(handle))


class Runner:
    """Runs everything before the evaluation on edited rows, each time in a folder of its own."""

    def __init__(self, rows: Rows, write_data: WriteData, folder: Path) -> None:
        self._rows, self._write, self._folder = rows, write_data, folder
        self._count = 0

    def __call__(
        self, edit: Edit = lambda rows: rows, *, has_catalog: bool = True, **changes: Any
    ) -> SimpleNamespace:
        self._count += 1
        folder = self._folder / str(self._count)
        self._write(folder)
        with (folder / "interactions.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, ["user_id", "item_id", "timestamp"])
            writer.writeheader()
            writer.writerows(edit(self._rows))
        return run_until_evaluation(make_config(folder, has_catalog=has_catalog, **changes))


@pytest.fixture(scope="module")
def runner(
    rows: Rows, write_tiny_data: WriteData, tmp_path_factory: pytest.TempPathFactory
) -> Runner:
    return Runner(rows, write_tiny_data, tmp_path_factory.mktemp("leak"))


@pytest.fixture(scope="module")
def with_catalog(runner: Runner) -> SimpleNamespace:
    return runner()


@pytest.fixture(scope="module")
def without_catalog(runner: Runner) -> SimpleNamespace:
    return runner(has_catalog=False)


@pytest.mark.parametrize("edit", [name for name in EDITS if name != "items never seen"])
def test_another_test_period_changes_no_bit_before_the_evaluation(
    edit: str, runner: Runner, with_catalog: SimpleNamespace
) -> None:
    other = runner(lambda rows: EDITS[edit](rows, _TEST))
    assert other.split.digest("test.parquet") != with_catalog.split.digest("test.parquet")
    for stage in ("split", "graph", "table", "train"):
        assert content(getattr(other, stage)) == content(getattr(with_catalog, stage)), stage


@pytest.mark.parametrize("edit", ["new users", "items never seen", "the past repeated"])
def test_nor_where_the_items_are_those_interacted_with(
    edit: str, runner: Runner, without_catalog: SimpleNamespace
) -> None:
    other = runner(lambda rows: EDITS[edit](rows, _TEST), has_catalog=False)
    for stage in ("split", "graph", "table", "train"):
        assert content(getattr(other, stage)) == content(getattr(without_catalog, stage)), stage


def test_nor_where_repeats_of_a_pair_are_dropped(runner: Runner) -> None:
    before = runner(duplicates="first")
    after = runner(lambda rows: EDITS["the past repeated"](rows, _TEST), duplicates="first")
    for stage in ("split", "graph", "table", "train"):
        assert content(getattr(after, stage)) == content(getattr(before, stage)), stage


@pytest.mark.parametrize("edit", ["other items", "others added"])
def test_another_validation_period_changes_no_bit_of_what_is_trained_on(
    edit: str, runner: Runner, with_catalog: SimpleNamespace
) -> None:
    other = runner(lambda rows: EDITS[edit](rows, _VALID))
    assert content(other.graph) == content(with_catalog.graph)
    assert content(other.table) == content(with_catalog.table)
    train = "train.parquet"
    assert other.split.digest(train) == with_catalog.split.digest(train)
    assert content(other.train) != content(with_catalog.train)  # validation chooses the epoch


def test_the_past_does_change_what_is_trained(
    runner: Runner, with_catalog: SimpleNamespace
) -> None:
    """The comparison above can fail: one altered row before the cut is seen."""
    other = runner(lambda rows: [{**rows[0], "item_id": "i39"}, *rows[1:]])
    for stage in ("split", "graph", "train"):
        assert content(getattr(other, stage)) != content(getattr(with_catalog, stage)), stage


FUTURE = st.lists(
    st.tuples(
        st.sampled_from(["u0", "u59", "a", "zz", "Ω", "10"]),
        st.sampled_from(["i0", "i39", "aa", "zz", "7"]),
        st.integers(_TEST, _TEST + 10**6),
    ),
    max_size=30,
)


@settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(future=FUTURE)
def test_no_future_whatever_changes_the_graph_of_the_past(
    future: list[tuple[str, str, int]],
    rows: Rows,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def graph(more: Rows) -> tuple[dict[str, Any], dict[str, Any]]:
        folder = tmp_path_factory.mktemp("future")
        with (folder / "interactions.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, ["user_id", "item_id", "timestamp"])
            writer.writeheader()
            writer.writerows(rows[:1600] + more)
        config = make_config(folder, has_catalog=False)
        store = Store(config.root)
        parts = stages.split(
            config, store, stages.ingest(config, store, stages.snapshot(config, store))
        )
        return content(parts), content(stages.graph(config, store, parts, parts))

    assert graph([row(*each) for each in future]) == graph([])
