"""The notebook as a reader runs it: a kernel of its own, over a real run with two versions."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import publish
from pinsage.store import Artifact, Facts, Store, Workspace

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "embeddings.ipynb"
FIGURES = {"cosines", "map", "curve", "versions"}


def outputs(notebook: Any) -> dict[str, dict[str, Any]]:
    """What each code cell shows, by the cell's id: its value as text, its figure as an image."""
    wanted = {"execute_result": "text/plain", "display_data": "image/png"}
    return {
        cell.id: {
            kind: out["data"][kind]
            for out in cell.outputs
            if (kind := wanted.get(out["output_type"])) is not None
        }
        for cell in notebook.cells
        if cell.cell_type == "code"
    }


def publish_another(run: SimpleNamespace, root: Path) -> str:
    """A version after the run's own: the same but for items 0 to 9, which change places."""
    config = run.config.model_copy(update={"root": root})
    vectors = np.load(run.embed.file("embeddings.npy"))
    vectors[:10] = np.roll(vectors[:10], 1, axis=0)

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", vectors)
        return dict(run.embed.facts)

    def index(work: Workspace) -> Facts:
        return write_index(embedded.file("embeddings.npy"), config.index, 0, work.path)

    def stage(name: str, build: Any) -> Artifact:
        inputs = {**run.embed.manifest.inputs, "edition": "another"}
        return Store(root).stage(name, build, settings={}, inputs=inputs, code=("pinsage.errors",))

    embedded = stage("embed", embed)
    time.sleep(1.0 - time.time() % 1.0)  # versions are named by the second
    version = publish(
        config, ingested=run.ingest, built=run.full_graph, trained=run.train,
        evaluated=run.evaluate, embedded=embedded, indexed=stage("index", index),
        reported=run.report,
    )  # fmt: skip
    return version.name


@pytest.fixture(scope="module")
def root(tiny_run: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebook") / "var"
    shutil.copytree(tiny_run.config.root, folder, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def latest(tiny_run: SimpleNamespace, root: Path) -> str:
    return publish_another(tiny_run, root)


@pytest.fixture(scope="module")
def executed(root: Path, latest: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    home = tmp_path_factory.mktemp("home")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    place = {"metadata": {"path": str(home)}}
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place)
    folders = {name: str(home / name) for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR")}
    environment = {**os.environ, **folders, "PINSAGE_ROOT": str(root), "PINSAGE_NAME": "tiny"}
    client.execute(env=environment)
    return notebook


@pytest.fixture(scope="module")
def shown(executed: Any) -> dict[str, Any]:
    return outputs(executed)


def test_is_committed_without_outputs() -> None:
    # MovieLens' titles and numbers made of them are not for redistribution.
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert [cell["outputs"] for cell in code] == [[]] * len(code)
    assert {cell["execution_count"] for cell in code} == {None}


def test_prints_no_warning(executed: Any) -> None:
    code = [cell for cell in executed.cells if cell.cell_type == "code"]
    assert [out for cell in code for out in cell.outputs if out["output_type"] == "stream"] == []


def test_opens_the_version_that_readers_follow(shown: dict[str, Any], latest: str) -> None:
    table = shown["open"]["text/plain"]
    assert latest in table
    assert re.search(r"items\s+40\b", table)
    assert re.search(r"interactions\s+1800\b", table)


def test_draws_every_figure(shown: dict[str, Any]) -> None:
    drawn = {name: out["image/png"] for name, out in shown.items() if "image/png" in out}
    assert set(drawn) == FIGURES
    assert all(len(image) > 5_000 for image in drawn.values())


def test_the_table_has_the_numbers_of_the_evaluation(
    shown: dict[str, Any], tiny_run: SimpleNamespace
) -> None:
    test = json.loads(tiny_run.evaluate.file("metrics.json").read_text())["test"]
    table = shown["table"]["text/plain"]
    for method, metrics in test["methods"].items():
        (line,) = [line for line in table.splitlines() if line.startswith(method)]
        assert f"{metrics['mrr']['value']:.4f}".rstrip("0") in line


def test_compares_with_the_version_before(shown: dict[str, Any]) -> None:
    table = shown["versions"]["text/plain"]
    assert re.search(r"count\s+40\.0", table)
    mean = re.search(r"mean\s+([\d.]+)", table)
    assert mean
    assert 0.1 < float(mean[1]) < 1.0, "ten of forty items changed places"


def test_explains_the_first_related_item(shown: dict[str, Any]) -> None:
    first = re.search(r"0\s+1\s+(i\d+)\s+(\w+ tale \d+)", shown["related"]["text/plain"])
    assert first
    assert first[2] + " comes 1st of 39" in shown["explain"]["text/plain"]
    assert re.search(r"users of both\s+\d+", shown["reasons"]["text/plain"])


def test_exports_ids_titles_and_vectors(shown: dict[str, Any]) -> None:
    lines = shown["export"]["text/plain"].splitlines()
    assert re.split(r"\s+", lines[0].strip())[:2] == ["title", "v0"]
    assert "Harbour tale 0" in lines[2]
