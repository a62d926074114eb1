"""A small synthetic data set with two planted communities, and a configuration that is quick."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numba
import numpy as np
import pytest

from flows.settings import IMPATIENT, LOGGING, QUIET, TERMINAL
from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.store import Store

NUM_USERS = 60
NUM_ITEMS = 40  # the first half is one community, the second half the other
VISITS = 30
_START = 1_704_067_200  # 2024-01-01 UTC
_HOUR = 3600

WriteData = Callable[[Path], None]
MakeConfig = Callable[..., Config]
RunStages = Callable[[Config], SimpleNamespace]


def pytest_configure() -> None:
    """Before prefect or mlflow is imported by a test: no statistics, no home but our own."""
    for name, value in {**QUIET, **IMPATIENT, **LOGGING, **TERMINAL}.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="prefect-home-"))


def _write_data(folder: Path) -> None:
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True, exist_ok=True)
    half = NUM_ITEMS // 2
    with (folder / "items.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["item_id", "title", "group", "year", "tags"])
        for item in range(NUM_ITEMS):
            side = "harbour" if item < half else "mountain"
            tags = "|".join([side, f"t{item % 5}"])
            rows.writerow([f"i{item}", f"{side.title()} tale {item}", side, 1980 + item, tags])
    with (folder / "interactions.csv").open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["user_id", "item_id", "timestamp"])
        for number in range(NUM_USERS * VISITS):
            user = number % NUM_USERS
            at_home = rng.random() < 0.9
            community = user % 2 if at_home else 1 - user % 2
            item = community * half + int(rng.integers(half))
            rows.writerow([f"u{user}", f"i{item}", _START + number * _HOUR])


def _tree(folder: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "root": str(folder / "var"),
        "data": {
            "interactions": {"path": str(folder / "data" / "interactions.csv")},
            "items": {
                "path": str(folder / "data" / "items.csv"),
                "title_column": "title",
                "features": {
                    "title": "text",
                    "group": "categorical",
                    "year": "numerical",
                    "tags": "multicategorical",
                },
            },
        },
        "neighbourhoods": {"size": 5, "walks": 20},
        "model": {"hidden": 16, "output": 8, "feature_channels": 4, "text_buckets": 32},
        "negatives": {"shared": 16},
        "training": {"epochs": 2, "batch_size": 64, "checkpoint_steps": 5},
        "evaluation": {"ks": [5, 10], "bootstrap": 100, "pixie_walks": 50},
    }


@pytest.fixture(scope="session")
def write_tiny_data() -> WriteData:
    """`write_tiny_data(folder)` writes interactions.csv and items.csv there, always the same."""
    return _write_data


@pytest.fixture(scope="session")
def make_tiny_config() -> MakeConfig:
    """`make_tiny_config(folder, training={…}, …)`: data in folder/data, root folder/var.

    Groups given are merged into the configuration; data are written if they are not there.
    """

    def make(folder: Path, **changes: Any) -> Config:
        if not (folder / "data").exists():
            _write_data(folder / "data")
        tree = _tree(folder)
        for key, value in changes.items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
        return parse_config(tree)

    return make


@pytest.fixture
def tiny_config(tmp_path: Path, make_tiny_config: MakeConfig) -> Config:
    """The small configuration, below `tmp_path`."""
    return make_tiny_config(tmp_path)


def _run(config: Config) -> SimpleNamespace:
    from pinsage.retrieval.publish import publish

    store, run = Store(config.root), SimpleNamespace()
    run.snapshot = stages.snapshot(config, store)
    run.ingest = stages.ingest(config, store, run.snapshot)
    run.split = stages.split(config, store, run.ingest)
    run.graph = stages.graph(config, store, run.split, run.split)
    run.table = stages.neighbourhoods(config, store, run.graph, run.split)
    run.train = stages.train(config, store, run.split, run.graph, run.table)
    seen = (run.split, run.graph, run.table, run.train)
    run.evaluate = stages.evaluate(config, store, *seen)
    run.full_graph = stages.graph(config, store, run.ingest, run.ingest)
    run.full_table = stages.neighbourhoods(config, store, run.full_graph, run.ingest)
    run.embed = stages.embed(config, store, run.ingest, run.full_graph, run.full_table, run.train)
    run.index = stages.index(config, store, run.embed, run.train)
    run.report = stages.report(
        config, store, ingested=run.ingest, parts=run.split, catalog=run.ingest,
        built=run.full_graph, trained=run.train, evaluated=run.evaluate, vectors=run.embed,
        made={name: getattr(run, name) for name in vars(run)},
    )  # fmt: skip
    run.version = publish(
        config, ingested=run.ingest, built=run.full_graph, trained=run.train,
        evaluated=run.evaluate, embedded=run.embed, indexed=run.index, reported=run.report,
    )  # fmt: skip
    return run


@pytest.fixture(scope="session")
def run_stages() -> RunStages:
    """`run_stages(config)` runs every stage and publishes; its artifacts by stage."""
    return _run


@pytest.fixture(scope="session")
def tiny_run(
    tmp_path_factory: pytest.TempPathFactory, make_tiny_config: MakeConfig
) -> SimpleNamespace:
    """One finished run with the small configuration, its `config` too; not to be changed."""
    config = make_tiny_config(tmp_path_factory.mktemp("tiny"))
    run = _run(config)
    run.config = config
    return run


@pytest.fixture
def numba_threads() -> Iterator[Callable[[int], None]]:
    """Sets numba's number of threads for one test."""

    def use(count: int) -> None:
        try:
            numba.set_num_threads(count)
        except ValueError:
            pytest.skip(f"numba was started with fewer than {count} threads")

    before = numba.get_num_threads()
    yield use
    numba.set_num_threads(before)
