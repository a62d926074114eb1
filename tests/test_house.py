"""Facts about the repository itself: layout, dependencies, start-up, public names."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import mlflow
import pytest
import typer.main
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pinsage.cli import command_line

ROOT = Path(__file__).parents[1]
PACKAGES = ("pinsage", "flows", "data_contracts")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY = {
    "data_contracts", "faiss", "fastapi", "great_expectations", "matplotlib", "mlflow", "numba",
    "numpy", "pandas", "pooch", "prefect", "pyarrow", "ray", "sqlalchemy", "torch", "torch_frame",
    "torch_geometric", "tokenizers", "uvicorn",
}  # fmt: skip


def requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def third_party() -> list[Requirement]:
    return [each for each in requirements() if each.name != PROJECT["name"]]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def files_of_the_repository() -> list[Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def modules_loaded_by(code: str) -> set[str]:
    report = "import atexit, json, sys; atexit.register(lambda: print(json.dumps([*sys.modules])))"
    run = subprocess.run(
        [sys.executable, "-c", f"{report}\n{code}"], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(run.stdout.splitlines()[-1])}


def imports_of(package: str) -> set[str]:
    found = set()
    for file in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - set(PACKAGES)


def options_of(command: Any, path: str) -> dict[str, list[str]]:
    if hasattr(command, "commands"):
        inner = [options_of(each, f"{path} {name}") for name, each in command.commands.items()]
        return {name: options for part in inner for name, options in part.items()}
    names = [name for parameter in command.params for name in sorted(parameter.opts)]
    return {path.strip(): names}


def test_the_mlflow_folder_does_not_hide_the_mlflow_package() -> None:
    assert not (ROOT / "mlflow" / "__init__.py").exists()
    assert callable(mlflow.set_tracking_uri)


def test_every_dependency_has_a_pin_that_its_bounds_allow() -> None:
    locked = pins()
    for requirement in third_party():
        pin = locked.get(canonicalize_name(requirement.name))
        assert pin, f"{requirement.name} is not in constraints.txt"
        assert requirement.specifier.contains(pin), f"{requirement} does not allow {pin}"


def test_every_dependency_has_its_reason_in_the_documentation() -> None:
    rows = (ROOT / "docs" / "dependencies.md").read_text().splitlines()
    cells = {cell.strip() for row in rows if row.startswith("|") for cell in row.split("|")}
    documented = {name.strip() for cell in cells for name in cell.split(",")}
    assert {requirement.name for requirement in third_party()} <= documented


def test_every_extra_is_documented() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert all(f"`{extra}`" in text for extra in PROJECT["optional-dependencies"])


def test_every_package_that_is_imported_is_declared() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in third_party()}
    distributions = packages_distributions()
    for package in PACKAGES:
        for name in imports_of(package):
            providers = {canonicalize_name(each) for each in distributions.get(name, [name])}
            assert providers & declared, f"{package} imports {name}, which is not declared"


def test_the_lock_names_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    odd = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[a-z0-9.]+", line)]
    assert not odd
    assert not [line for line in lines if re.match(r"nvidia|cuda|triton", line)]


def test_no_python_file_is_longer_than_400_lines() -> None:
    python = [file for file in files_of_the_repository() if file.suffix == ".py"]
    lengths = {file: len(file.read_text().splitlines()) for file in python}
    assert {file: length for file, length in lengths.items() if length > 400} == {}


def test_no_file_names_a_path_of_one_machine() -> None:
    machine = re.compile(r"/(work|farm|root)/|/tmp/[a-z]|/home/[a-z]")
    found = []
    for file in files_of_the_repository():
        text = file.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{file.name}: {match[0]}" for match in machine.finditer(text)]
    assert found == []


def test_importing_the_library_imports_nothing_heavy() -> None:
    assert modules_loaded_by("import pinsage") & HEAVY == set()


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["recommend", "--help"], ["embed-new", "--help"], ["serve", "--help"], ["config"]],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    loaded = modules_loaded_by(
        f"import sys; sys.argv = ['pinsage', *{arguments!r}]\nfrom pinsage.cli import main\nmain()"
    )
    assert loaded & HEAVY == set()


def test_make_without_a_target_lists_the_targets() -> None:
    run = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\w+)", run.stdout, re.MULTILINE)
    assert listed == ["help", "demo", "test", "check", "ui", "bench", "lock", "clean"]


def test_make_names_the_data_sets_where_data_is_none_of_them() -> None:
    command = ["make", "-s", "demo", "DATA=no-such-set"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "configs/no-such-set.toml: no such file" in run.stderr
    assert "movielens-100k" in run.stderr


def test_make_says_which_python_is_needed_where_it_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    command = ["make", "-s", "demo", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "Python 3.11 or newer is needed" in run.stderr
    assert "is Python 3.9.2" in run.stderr


def test_the_options_of_the_command_line_are_these() -> None:
    where = ["--config", "-c", "--set", "--name", "--root"]
    options = options_of(typer.main.get_command(command_line()), "")
    core = {name: options[name] for name in ("config", "data fetch", "explain", "published")}
    core |= {name: options[name] for name in ("embed-new", "export", "recommend")}
    core |= {name: options[name] for name in ("recommend-user", "rollback", "serve")}
    assert core == {
        "config": ["config_file", "--set", "--json"],
        "data fetch": ["name", "--to", "--mirror", "--json"],
        "embed-new": ["file", "--count", "-k", "--out", "--version", *where, "--json"],
        "explain": ["query", "item", "--count", "-k", "--contexts", *where, "--json"],
        "export": ["--format", "--to", "--version", *where, "--json"],
        "published": [*where, "--json"],
        "recommend": ["item", "--count", "-k", *where, "--json"],
        "recommend-user": ["user", "--count", "-k", "--new", "--version", *where, "--json"],
        "rollback": ["version", "--why", "--embeddings-only", *where, "--yes", "-y", "--json"],
        "serve": [
            "--host",
            "--port",
            "--version",
            "--threads",
            "--poll",
            "--drain",
            "--preload",
            *where,
        ],
    }
