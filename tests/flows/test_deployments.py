"""prefect.yaml as it stands: every deployment runs the demo, and its parameters are accepted."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.children import Children
from flows.settings import QUIET
from pinsage.config import Config, load_config

NAMES = [
    "nightly", "validate", "graph", "train", "evaluate", "ablation", "tune", "embed", "publish",
]  # fmt: skip


@pytest.fixture
def document(repository: Path) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((repository / "prefect.yaml").read_text())
    return read


@pytest.fixture
def deployments(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["deployments"]}


def test_every_flow_of_the_design_has_a_deployment(deployments: dict[str, Any]) -> None:
    assert list(deployments) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_point_is_the_flow_of_that_name(
    name: str, deployments: dict[str, Any], repository: Path
) -> None:
    from importlib import import_module

    file, _, function = deployments[name]["entrypoint"].partition(":")
    assert (repository / file).is_file()
    flow = getattr(import_module(file.removesuffix(".py").replace("/", ".")), function)
    assert flow.name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_those_of_the_demo(
    name: str, deployments: dict[str, Any], repository: Path
) -> None:
    given = Config.model_validate(deployments[name]["parameters"]["config"])
    assert given == load_config(repository / "configs" / "movielens-100k.toml")


def test_the_parameters_repeat_the_file_of_the_demo_and_nothing_else(
    document: dict[str, Any], repository: Path
) -> None:
    tree = tomllib.loads((repository / "configs" / "movielens-100k.toml").read_text())
    assert document["definitions"]["demo"]["config"] == {**tree, "root": "var"}


def test_what_does_little_but_train_is_for_the_gpu_pool_and_all_else_for_the_cpu_pool(
    deployments: dict[str, Any],
) -> None:
    pools = {name: each["work_pool"]["name"] for name, each in deployments.items()}
    assert {name for name, pool in pools.items() if pool == "gpu"} == {"train", "ablation", "tune"}


def test_one_nightly_runs_at_a_time_and_a_second_is_cancelled(deployments: dict[str, Any]) -> None:
    nightly = deployments["nightly"]
    assert nightly["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}
    [schedule] = nightly["schedules"]
    assert schedule["timezone"]
    assert schedule["active"] is False


def test_no_tool_reports_anything_from_a_worker(deployments: dict[str, Any]) -> None:
    for each in deployments.values():
        env = each["work_pool"]["job_variables"]["env"]
        assert QUIET.items() <= env.items()


@pytest.fixture
def server(tmp_path: Path, repository: Path) -> Iterator[Children]:
    """A real Prefect server with a database of its own, and the work pools."""
    from flows.embedded import free_port

    url = f"http://127.0.0.1:{(port := free_port())}/api"
    home = tmp_path / "prefect"
    home.mkdir()
    environment = {**os.environ, **QUIET, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
    with Children(repository, tmp_path / "logs", environment) as children:
        children.start("prefect", "prefect", "server", "start", "--no-ui", "--port", str(port))
        children.until_it_answers("prefect", f"{url}/health")
        for pool in ("cpu", "gpu"):
            create = ("work-pool", "create", pool, "--type", "process")
            children.run(f"pool-{pool}", "prefect", "--no-prompt", *create)
        yield children


LIST = """
import json
from prefect import get_client
from prefect.utilities.schema_tools import validation
with get_client(sync_client=True) as client:
    for each in client.read_deployments(limit=50, offset=0):
        schema = each.parameter_openapi_schema
        validation.validate(each.parameters, schema, raise_on_error=True)
        print("deployed", each.name, each.enforce_parameter_schema, sorted(schema["properties"]))
"""


@pytest.mark.slow
def test_deploy_all_deploys_all_against_a_real_server(
    server: Children, repository: Path, tmp_path: Path
) -> None:
    server.run("deploy", "prefect", "--no-prompt", "deploy", "--all")
    listed = subprocess.run(
        [sys.executable, "-c", LIST],
        env=dict(server.environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    found = {line.split()[1] for line in listed if line.startswith("deployed")}
    assert found == set(NAMES)
    assert all(" True ['config'" in line for line in listed if line.startswith("deployed"))
