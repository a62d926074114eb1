"""docs/operations.md says what is true: commands, options, settings, links, templates, messages."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml

from pinsage.cli import command_line
from pinsage.config import Config

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "operations.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
POOLS = re.findall(r"<!-- pool: (\w+) -->\n```yaml\n(.*?)```", TEXT, re.DOTALL)


def lines_of_code() -> list[str]:
    return CODE + [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


def commands(program: str) -> Iterator[list[str]]:
    for line in lines_of_code():
        words = shlex.split(line, comments=True)
        if words[:1] == [program]:
            yield words[1:]


def options_of(command: Any, words: list[str]) -> tuple[list[str], set[str]]:
    """The words that name the command, and its options."""
    path: list[str] = []
    while hasattr(command, "commands"):
        assert words, f"{path}: which command?"
        command, path, words = command.commands[words[0]], [*path, words[0]], words[1:]
    return path, {name for each in command.params for name in each.opts}


def test_every_command_of_ours_and_its_options_exist() -> None:
    tree, found = typer.main.get_command(command_line()), set()
    for words in commands("pinsage"):
        path, options = options_of(tree, words)
        assert {word for word in words if word.startswith("-")} <= options, words
        found.add(" ".join(path))
    assert found >= {"gc", "ui", "run", "published", "rollback", "recommend", "explain"}


def test_every_target_of_make_exists() -> None:
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for words in commands("make"):
        assert words[0] in targets


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # importing Prefect's whole command line warns of much
def test_every_command_of_prefect_and_its_options_exist() -> None:
    import subprocess
    import sys

    seen = {tuple(words) for words in commands("prefect")}
    assert len(seen) >= 6
    for words in seen:
        path: list[str] = []
        for word in words:
            if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
                break
            path.append(word)
        given = {word for word in words if word.startswith("--")}
        while True:  # what follows the command's name may be a word of its own
            run = subprocess.run(
                [sys.executable, "-m", "prefect", *path, "--help"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if run.returncode == 0 or len(path) == 1:
                break
            path.pop()
        assert run.returncode == 0, words
        assert given <= set(re.findall(r"--[a-z-]+", run.stdout)), words


def test_every_setting_that_is_named_exists() -> None:
    groups = {name: field.annotation for name, field in Config.model_fields.items()}
    named = [each for each in CODE if re.fullmatch(r"[a-z]+\.[a-z_]+( = .*)?", each)]
    assert len(named) >= 8
    for each in named:
        group, _, key = each.partition(" = ")[0].partition(".")
        if group in groups and group != "data" and "yaml" not in key:
            assert key in groups[group].model_fields, each  # type: ignore[union-attr]


def test_every_variable_of_a_team_that_is_named_is_read() -> None:
    from flows.team import HOSTNAME, SECRETS

    assert set(re.findall(r"PINSAGE_TEAM_\w+", TEXT)) == {*SECRETS, HOSTNAME}
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    for name in set(re.findall(r"PINSAGE_(?!TEAM_)\w+", TEXT)):
        assert name in compose


def test_every_file_that_is_named_exists() -> None:
    for each in CODE:
        if (
            re.fullmatch(r"(docs|deploy|tests|mlflow|configs)/[\w./-]*", each)
            and each != "deploy/.env"
        ):
            assert (ROOT / each).exists(), each


def messages() -> list[str]:
    """The messages of the table of alarms, as they are written there."""
    table = TEXT.partition("## When something is red")[2].partition("## By force")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| ")]
    return [each for cell in cells for each in re.findall(r"`([^`]+)`", cell)]


ELSEWHERE = {
    "validate-embeddings": "the name of a stage",
    "this publisher began too early": "pinsage/retrieval/fencing.py",
    "Deployment concurrency limit reached": "Prefect's own",
    "cannot be used (Address already in use)": "the second half is the system's",
}


@pytest.mark.parametrize("message", [each for each in messages() if each not in ELSEWHERE])
def test_every_message_of_the_table_is_one_that_the_code_says(message: str) -> None:
    """Its fixed parts, in their order, in one file; `…` stands for what the code fills in."""
    parts = [part.strip() for part in re.split("…|nan", message) if part.strip()]
    sources = [
        re.sub(r'"\s+f?"', "", file.read_text())
        for package in ("pinsage", "flows", "data_contracts")
        for file in (ROOT / package).rglob("*.py")
    ]
    assert any(all(part in source for part in parts) for source in sources)


@pytest.mark.parametrize(("kind", "text"), POOLS, ids=[kind for kind, _ in POOLS])
def test_job_variables_keep_the_schema_of_prefects_own_template(kind: str, text: str) -> None:
    carried = files("prefect.server.api.collections_data.views")
    known = json.loads(carried.joinpath("aggregate-worker-metadata.json").read_text())
    template = known[f"prefect-{kind}"][kind]["default_base_job_configuration"]
    schema = {**template["variables"], "additionalProperties": False}
    jsonschema.Draft7Validator.check_schema(schema)
    pool = yaml.safe_load(text)
    assert set(pool) == {"name", "job_variables"}
    jsonschema.validate(pool["job_variables"], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**pool["job_variables"], "image_pull_policy": "Sometimes"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**pool["job_variables"], "imagee": "x"}, schema)


def test_there_is_a_template_for_kubernetes_and_one_for_docker() -> None:
    assert {kind for kind, _ in POOLS} == {"kubernetes", "docker"}


def test_the_other_blocks_of_yaml_are_read_and_no_secret_is_written_out() -> None:
    for kind, text in BLOCKS:
        if kind == "yaml":
            document = json.dumps(yaml.safe_load(text))
            for value in re.findall(r'"\w*PASSWORD\w*": "([^"]+)"', document):
                assert value.startswith("{{ prefect.blocks.secret.")


def test_the_extras_that_are_to_be_installed_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for listed in re.findall(r"\.?(?:pinsage-pipeline)?\[([a-z,]+)\]'", TEXT):
        assert set(listed.split(",")) <= set(project["optional-dependencies"])
