"""A real Prefect API in a child process, MLflow on SQLite files, and one finished nightly run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flows.nightly import NightlyResult
    from pinsage.config import Config


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own servers are none of a test's business."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it. Its tables take a second to make, so tests copy them."""
    import mlflow

    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def tiny_config(tmp_path: Path, make_tiny_config: Any, empty_mlflow: Path) -> Config:
    """The small configuration, with MLflow's database in place."""
    config: Config = make_tiny_config(tmp_path)
    config.root.mkdir()
    shutil.copy(empty_mlflow, config.root)
    return config


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """Prefect's own test harness: a server in a child process with a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@dataclass(frozen=True)
class Night:
    """A finished nightly run."""

    config: Config
    result: NightlyResult


@pytest.fixture(scope="session")
def first_night(
    prefect_api: None, tmp_path_factory: pytest.TempPathFactory, make_tiny_config: Any
) -> Night:
    """The nightly flow over the small data set, everything built. Its root is for reading."""
    from flows.nightly import nightly

    config = make_tiny_config(tmp_path_factory.mktemp("night"))
    return Night(config, nightly(config))


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parents[2]
