"""The stages end to end on a small data set: what is reused, what is not, and what may not leak."""

from __future__ import annotations

import ast
import csv
import shutil
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pinsage import stages
from pinsage.config import Config, parse_config
from pinsage.errors import ArtifactError
from pinsage.progress import Progress
from pinsage.retrieval.published import load_published
from pinsage.stages._model import INDEXING
from pinsage.store import Artifact, FileEntry, Store, code_digest

if TYPE_CHECKING:
    from tests.conftest import MakeConfig, RunStages

ORDER = (
    "snapshot", "ingest", "split", "graph", "table", "train", "evaluate", "full_graph",
    "full_table", "embed", "index", "report", "version",
)  # fmt: skip
AFTER_GRAPH = {"train", "evaluate", "embed", "index", "report", "version"}
Again = Callable[..., SimpleNamespace]
Rows = list[dict[str, str]]


def built(run: SimpleNamespace) -> set[str]:
    """The stages that were run, not found."""
    return {name for name in ORDER if not getattr(run, name).reused}


@pytest.fixture
def again(tiny_run: SimpleNamespace, tmp_path: Path, run_stages: RunStages) -> Again:
    """`again(training={…})` runs with changes over a copy of all that `tiny_run` left."""
    root = tmp_path / "var"
    shutil.copytree(tiny_run.config.root, root)

    def run(**changes: dict[str, Any]) -> SimpleNamespace:
        tree = tiny_run.config.model_dump(mode="json")
        for group, values in changes.items():
            tree[group] = {**tree[group], **values}
        return run_stages(parse_config({**tree, "root": str(root)}))

    return run


@pytest.fixture
def again_with_rows(again: Again, tiny_run: SimpleNamespace, tmp_path: Path) -> Again:
    """`again_with_rows(edit)` runs again after `edit(rows)` of the interactions."""

    def run(edit: Callable[[Rows], Rows]) -> SimpleNamespace:
        data = tiny_run.config.data.model_dump(mode="json")
        with Path(data["interactions"]["path"]).open(newline="") as handle:
            rows = edit(list(csv.DictReader(handle)))
        data["interactions"]["path"] = str(tmp_path / "edited.csv")
        with (tmp_path / "edited.csv").open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return again(data=data)

    return run


class TestReuse:
    def test_nothing_changed_runs_nothing(self, again: Again, tiny_run: SimpleNamespace) -> None:
        run = again()
        assert built(run) == set()
        assert run.version.name == tiny_run.version.name

    def test_more_epochs_train_anew_over_the_same_graph(self, again: Again) -> None:
        # What comes after is built anew only where one of the new epochs is the best.
        assert built(again(training={"epochs": 3})) in ({"train", "report"}, AFTER_GRAPH)

    def test_other_weights_build_anew_what_comes_after(self, again: Again) -> None:
        assert built(again(training={"learning_rate": 0.01})) == AFTER_GRAPH

    def test_what_changes_no_result_only_draws_the_report_anew(self, again: Again) -> None:
        run = again(
            training={"workers": 1, "checkpoint_steps": 7},
            publish={"keep": 3},
            contract={"min_users": 3},
            tracking={"experiment": "other"},
            embed={"block": 16},
        )
        assert built(run) == {"report"}

    def test_index_settings_build_the_index_anew(self, again: Again) -> None:
        assert built(again(index={"kind": "hnsw"})) == {"index", "report", "version"}

    def test_evaluation_settings_leave_training_alone(self, again: Again) -> None:
        assert built(again(evaluation={"bootstrap": 101})) == {"evaluate", "report", "version"}

    def test_graph_settings_build_the_graph_anew_and_its_memory_does_not(
        self, again: Again
    ) -> None:
        assert built(again(graph={"memory_mib": 16})) <= {"report"}
        run = again(graph={"weights": "count"})
        assert {"graph", "full_graph"} <= built(run)
        assert built(run).isdisjoint({"snapshot", "ingest", "split"})
        assert run.graph.file("item_thresholds.npy").exists()

    def test_walk_settings_leave_the_graph_alone(self, again: Again) -> None:
        run = again(neighbourhoods={"walks": 30})
        assert built(run).isdisjoint({"snapshot", "ingest", "split", "graph", "full_graph"})
        assert {"table", "train"} <= built(run)

    def test_the_same_weights_once_more_run_nothing_after_them(
        self, again: Again, tmp_path: Path
    ) -> None:
        shutil.rmtree(tmp_path / "var" / "stages" / "train")
        assert built(again()) == {"train"}

    def test_source_in_another_order_is_the_same_data(self, again_with_rows: Again) -> None:
        run = again_with_rows(lambda rows: rows[::-1])
        assert built(run) == {"snapshot", "ingest", "report"}  # the page names the source

    def test_damaged_artifact_is_named_and_nothing_is_lost(
        self, again: Again, tiny_run: SimpleNamespace, tmp_path: Path
    ) -> None:
        graph = tmp_path / "var" / "stages" / "graph" / tiny_run.graph.manifest.key
        file = graph / "item_indices.npy"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(ArtifactError, match=r"item_indices\.npy: .*delete .* and run again"):
            again()
        assert load_published(tmp_path / "var", "tiny").version == tiny_run.version.name
        shutil.rmtree(graph)
        assert built(again()) == {"graph"}


def content(artifact: Artifact) -> dict[str, FileEntry]:
    files = artifact.manifest.files
    with_wall_times = ("history.json", "tuning.json", "report.html")
    return {name: entry for name, entry in files.items() if name not in with_wall_times}


def test_two_runs_in_two_places_are_bitwise_equal(
    tiny_run: SimpleNamespace,
    tmp_path: Path,
    make_tiny_config: MakeConfig,
    run_stages: RunStages,
) -> None:
    run = run_stages(make_tiny_config(tmp_path))
    assert built(run) == set(ORDER)
    for name in ORDER[:-1]:
        assert content(getattr(run, name)) == content(getattr(tiny_run, name)), name
    assert run.version.name.split("-")[1] == tiny_run.version.name.split("-")[1]


def test_published_version_answers_with_the_planted_community(tiny_run: SimpleNamespace) -> None:
    published = load_published(tiny_run.config.root, "tiny")
    embeddings = np.load(tiny_run.embed.file("embeddings.npy"))
    assert published.vectors.tobytes() == embeddings.tobytes()
    related = published.related(published.find("Harbour tale 3"), 5)
    assert {each.title.split()[0] for each in related} == {"Harbour"}


def test_long_stages_say_how_far_they_are(tiny_config: Config) -> None:
    config = tiny_config
    store, told = Store(config.root), list[Progress]()
    ingested = stages.ingest(config, store, stages.snapshot(config, store), listener=told.append)
    built = stages.graph(config, store, ingested, ingested, listener=told.append)
    stages.neighbourhoods(config, store, built, ingested, listener=told.append)
    ends = {each.part: (each.done, each.total, each.unit) for each in told}
    rows, items = int(ingested.facts["num_interactions"]), int(ingested.facts["num_items"])
    assert ends["reading interactions"] == (rows, rows, "rows")
    assert ends["walking"] == (items, items, "items")
    assert ends["numbering interactions"][0] == ends["numbering interactions"][1] >= rows
    assert {each.part for each in told if each.done == 0} == set(ends)


# What every module may use without being in a stage's key: settings are in it by value, and the
# rest only says how artifacts are kept, a cluster is reached, errors worded and progress told.
PLUMBING = {
    "pinsage",
    "pinsage.cluster",
    "pinsage.config",
    "pinsage.errors",
    "pinsage.files",
    "pinsage.store",
    "pinsage.measure",
    "pinsage.progress",
}


def imports(module: str) -> Iterable[str]:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.walk(ast.parse(Path(spec.origin).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pinsage"):
            yield str(node.module)
            parents = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name for name in parents if is_module(name))
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.startswith("pinsage"))


def is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def reachable(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in PLUMBING:
            found.add(module)
            waiting += imports(module)
    return found


def written_modules(function: ast.FunctionDef) -> set[str]:
    """Modules that a stage imports to do its work."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.ImportFrom)]
    return {str(node.module) for node in found if str(node.module).startswith("pinsage.")}


def named_code(function: ast.FunctionDef, home: ModuleType) -> list[str]:
    """Names that a stage gives as its `code`; `home` is the module it is in."""
    given = [k for k in ast.walk(function) if isinstance(k, ast.keyword) and k.arg == "code"]
    found = [node for keyword in given for node in ast.walk(keyword)]
    constants = [str(node.value) for node in found if isinstance(node, ast.Constant)]
    shared = [getattr(home, node.id) for node in found if isinstance(node, ast.Name)]
    return [*constants, *(name for each in shared if isinstance(each, tuple) for name in each)]


def test_every_stage_names_all_the_code_that_its_result_depends_on() -> None:
    homes = [import_module(f"pinsage.stages.{each.name}") for each in iter_modules(stages.__path__)]
    checked = [
        (function, names)
        for home in homes
        for function in ast.parse(Path(str(home.__file__)).read_text()).body
        if isinstance(function, ast.FunctionDef) and (names := named_code(function, home))
    ]
    assert len(checked) == 18
    for function, names in checked:
        used = {module for module in reachable(written_modules(function)) if is_leaf(module)}
        missing = {m for m in used if not any(f"{m}.".startswith(f"{name}.") for name in names)}
        assert missing == set(), function.name


def is_leaf(module: str) -> bool:
    """Whether it is a module with code; a package's own file holds a docstring only."""
    spec = find_spec(module)
    return spec is not None and Path(str(spec.origin)).stem != "__init__"


def test_the_code_of_a_stage_is_in_its_manifest(tiny_run: SimpleNamespace) -> None:
    assert tiny_run.index.manifest.code == code_digest(INDEXING)
