"""A small sound snapshot that a test spoils in one way, and the gate run over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.gate import validate
from pinsage.config import Config, parse_config
from pinsage.store import Artifact, Facts, Store, Workspace, digest_of

NUM_USERS, NUM_ITEMS = 20, 12
START = 1_700_000_000_000_000  # µs, November 2023

Spoil = Callable[[dict[str, Any], dict[str, Any]], None]
Land = Callable[..., Artifact]

FEATURES = {
    "price": "numerical",
    "genre": "categorical",
    "tags": "multicategorical",
    "title": "text",
    "image": "embedding",
    "released": "timestamp",
}


def sound_interactions() -> dict[str, Any]:
    """240 interactions: each of 20 users with each of 12 items, a minute apart."""
    pairs = [(user, item) for item in range(NUM_ITEMS) for user in range(NUM_USERS)]
    return {
        "user_id": pa.array([f"u{user}" for user, _ in pairs]),
        "item_id": pa.array([f"i{item}" for _, item in pairs]),
        "timestamp": pa.array([START + 60_000_000 * row for row in range(len(pairs))]),
        "weight": pa.array([1.0] * len(pairs), pa.float32()),
    }


def sound_items() -> dict[str, Any]:
    """12 items with a feature of each kind."""
    rows = range(NUM_ITEMS)
    return {
        "item_id": pa.array([f"i{row}" for row in rows]),
        "title": pa.array([f"Title {row}" for row in rows]),
        "price": pa.array([0.5 * row for row in rows]),
        "genre": pa.array(["drama" if row % 2 else "comedy" for row in rows]),
        "tags": pa.array([["a", "b"][: 1 + row % 2] for row in rows]),
        "image": pa.array([[float(row), 1.0, 0.0] for row in rows], pa.list_(pa.float32())),
        "released": pa.array([START + row for row in rows], pa.timestamp("us")),
    }


@pytest.fixture
def config() -> Config:
    """Features of each kind, and the default contract."""
    return contract_config()


def contract_config(**contract: Any) -> Config:
    items = {"path": "items.parquet", "features": FEATURES}
    data = {"interactions": {"path": "interactions.parquet"}, "items": items}
    model = {"output": 16}
    return parse_config({"name": "toy", "data": data, "contract": contract, "model": model})


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all: artifacts are found by content, so they cannot disturb each other."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def land(store: Store) -> Land:
    """Write tables (columns by name) as the artifact of a stage."""

    def write(stage: str = "snapshot", facts: Facts | None = None, **tables: Any) -> Artifact:
        def build(work: Workspace) -> Facts:
            for name, columns in tables.items():
                pq.write_table(pa.table(columns), Path(work.path, f"{name}.parquet"))
            return facts or {}

        settings = {name: digest_of(pa.table(table).to_pydict()) for name, table in tables.items()}
        settings["types"] = str([pa.table(table).schema for table in tables.values()])
        return store.stage(stage, build, settings=settings, inputs={}, code=("pinsage.errors",))

    return write


@pytest.fixture(scope="session")
def gate(store: Store, land: Land) -> Callable[..., Artifact]:
    """Validate the sound snapshot after `spoil(interactions, items)` has changed it in place."""

    def run(spoil: Spoil = lambda _interactions, _items: None, **contract: Any) -> Artifact:
        interactions, items = sound_interactions(), sound_items()
        spoil(interactions, items)
        landed = land(interactions=interactions, items=items)
        return validate(contract_config(**contract), store, landed)

    return run
