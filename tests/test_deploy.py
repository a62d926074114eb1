"""deploy/: what can be checked of containers where none can run. It has not been run here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VARIABLE = re.compile(r"\$\{(\w+)(:-|:\?)?([^}]*)\}")
# What Compose's specification knows and this file may use: a misspelt key would be refused there.
SERVICE_KEYS = {
    "build", "command", "depends_on", "deploy", "environment", "healthcheck", "image", "ports",
    "profiles", "restart", "shm_size", "volumes",
}  # fmt: skip
SECRET = re.compile(r"PASSWORD|AUTH_STRING|SECRET_KEY|_AUTH$")


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    else:
        yield str(value)


def variables() -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for text in texts(COMPOSE):
        for name, how, what in VARIABLE.findall(text):
            found.setdefault(name, set()).add((how, what))
    return found


def test_there_are_the_services_of_a_team() -> None:
    assert set(SERVICES) == {"postgres", "prefect", "mlflow", "deploy", "worker-cpu", "worker-gpu"}
    for name, service in SERVICES.items():
        assert set(service) <= SERVICE_KEYS, name
        assert "image" in service


def test_every_port_is_of_this_machine_alone_unless_told_otherwise() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 2
    for port in ports:
        assert re.fullmatch(r"\$\{PINSAGE_BIND:-127\.0\.0\.1\}:\d+:\d+", port)
    assert not [name for name, each in SERVICES.items() if each.get("network_mode") == "host"]


def test_every_secret_is_a_variable_without_a_default() -> None:
    found = 0
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if SECRET.search(key):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name}: {key}"
                found += 1
    assert found >= 8
    secret = {n for n in variables() if SECRET.search(n)}
    assert secret == {
        "PINSAGE_POSTGRES_PASSWORD", "PINSAGE_PREFECT_AUTH", "PINSAGE_MLFLOW_PASSWORD",
        "PINSAGE_SECRET_KEY",
    }  # fmt: skip
    assert all({how for how, _ in variables()[name]} == {":?"} for name in secret)


def test_no_secret_is_an_argument_of_a_process() -> None:
    for service in SERVICES.values():
        for text in texts([service.get("command", []), service.get("healthcheck", {})]):
            assert not VARIABLE.search(text)


def test_the_example_names_every_variable_and_holds_no_value() -> None:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    required = {line.rstrip("=") for line in lines if re.fullmatch(r"\w+=", line)}
    optional = dict(re.findall(r"^#(\w+)=(\S+)$", "\n".join(lines), re.MULTILINE))
    found = variables()
    assert required == {name for name, uses in found.items() if {h for h, _ in uses} == {":?"}}
    assert optional == {
        name: what for name, uses in found.items() for how, what in uses if how == ":-"
    }


def test_the_filled_in_example_is_never_committed() -> None:
    command = ["git", "check-ignore", "deploy/.env"]
    assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == 0


def test_everything_that_is_waited_for_says_when_it_is_ready() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], f"{name} waits for {other}"
            else:
                assert "restart" not in SERVICES[other], f"{other} never completes"
    assert "healthcheck" in SERVICES["worker-cpu"]
    assert "healthcheck" in SERVICES["worker-gpu"]


def test_volumes_are_declared_or_are_files_that_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = VARIABLE.sub(r"\3", volume).split(":")[0]
            if source.startswith("./"):
                assert source == "./data" or (DEPLOY / source).exists()
            else:
                assert source in COMPOSE["volumes"]


def commands() -> Iterator[list[str]]:
    for service in SERVICES.values():
        command = service.get("command", [])
        if command[:1] == ["sh"]:
            yield from (shlex.split(line) for line in command[-1].splitlines())
        elif command:
            yield command


def options_of(program: str, words: list[str]) -> set[str]:
    """Options that a command of Prefect or MLflow has."""
    if program == "mlflow":
        from mlflow.cli import cli

        return {name for each in cli.commands[words[0]].params for name in each.opts}
    path = list(takewhile(lambda word: not word.startswith("-"), words))
    path = path[:2] if path[0] in ("server", "work-pool", "worker") else path[:1]
    shown = subprocess.run(
        [sys.executable, "-m", "prefect", *path, "--help"],
        env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return set(re.findall(r"--[a-z-]+", shown))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # MLflow's, of its own type hints
@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_and_its_options_exist(command: list[str]) -> None:
    program, *words = [word for word in command if word != "--no-prompt"]  # prefect's own
    given = {word for word in words if word.startswith("--")}
    assert given <= options_of(program, words)


def test_environment_variables_of_prefect_and_mlflow_are_known_to_them() -> None:
    import mlflow.environment_variables as of_mlflow
    from prefect import settings

    older_names = {"PREFECT_SERVER_CSRF_PROTECTION_ENABLED", "PREFECT_SERVER_CORS_ALLOWED_ORIGINS"}
    for service in SERVICES.values():
        for name in service.get("environment", {}):
            if name.startswith("PREFECT_"):
                assert name in older_names or hasattr(settings, name), name
            elif name.startswith("MLFLOW_") and name not in OPTIONS_OF_MLFLOW_SERVER:
                assert hasattr(of_mlflow, name) or hasattr(of_mlflow, f"_{name}"), name


OPTIONS_OF_MLFLOW_SERVER = {"MLFLOW_BACKEND_STORE_URI"}  # read by its command line itself


def stages_of_the_dockerfile() -> dict[str, str]:
    parts = re.split(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    return {parts[i + 1]: parts[i + 2] for i in range(0, len(parts), 3)}


def test_images_are_built_for_cpu_and_cuda_from_files_that_exist_and_are_sent() -> None:
    stages = stages_of_the_dockerfile()
    assert list(stages) == ["base", "cpu", "cuda"]
    sent = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    for copied in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE):
        for source in copied.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in sent, f"{source} is left out of the build"
    targets = {s["build"]["target"] for s in SERVICES.values() if "build" in s}
    assert targets == {"cpu", "cuda"}
    for service in SERVICES.values():
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()


def test_every_install_is_held_to_the_lock_and_names_extras_that_exist() -> None:
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)
    assert len(installs) == 7
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    for line in installs:
        words = shlex.split(line.removesuffix("\\"))
        assert words[:2] == ["-c", "constraints.txt"]
        skip = {"https://download.pytorch.org/whl/cpu"}
        names = [w for w in words[2:] if not w.startswith("-") and w not in skip]
        for name in names:
            if name.startswith(".["):
                extras = Requirement(f"x{name[1:]}").extras
                assert extras <= set(project["optional-dependencies"])
            else:
                assert name in locked


def test_images_do_not_run_as_root() -> None:
    stages = stages_of_the_dockerfile()
    for name in ("cpu", "cuda"):
        assert stages[name].rstrip().endswith("USER pinsage")


def test_both_images_hold_the_same_pipeline() -> None:
    stages = stages_of_the_dockerfile()

    def steps(name: str) -> list[str]:
        return [
            line
            for line in stages[name].splitlines()
            if line and "torch" not in line and "login.ini" not in line
        ]

    assert steps("cpu") == steps("cuda")


def test_the_python_of_the_images_is_one_that_the_project_supports() -> None:
    [version] = re.findall(r"^FROM python:(\d+\.\d+)-", DOCKERFILE, re.MULTILINE)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert Requirement(f"x{needed}").specifier.contains(version)
