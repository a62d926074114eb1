"""What stays and what goes, against a slow reference that asks of each artifact who needs it."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage.config import RetentionConfig
from pinsage.explain import evidence
from pinsage.files import link_or_copy
from pinsage.retention.needs import SOURCES
from pinsage.retention.plan import Plan, collect, plan
from pinsage.store import MANIFEST, Manifest, digest_of, inventory

NOW = 2_000_000_000.0
DAY = 86_400.0
SETTINGS = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
FILES = {
    "train": ("model/weights", "history.json"),
    "evaluate": ("results.parquet", "ranks.parquet", "metrics.json"),
}


class Root:
    """A root with made-up artifacts, whose manifests are real ones."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.made: list[tuple[str, str]] = []

    def folder(self, place: tuple[str, str]) -> Path:
        return self.path / "stages" / place[0] / place[1]

    def manifest(self, place: tuple[str, str]) -> dict[str, Any]:
        read: dict[str, Any] = json.loads((self.folder(place) / MANIFEST).read_text())
        return read

    def digest(self, place: tuple[str, str], *prefixes: str) -> str:
        """As the store names the content of an artifact, or of some of its files."""
        found = self.manifest(place)["files"].items()
        return digest_of(
            {n: e["digest"] for n, e in found if not prefixes or n.startswith(prefixes)}
        )

    def artifact(
        self,
        stage: str,
        *,
        days: float = 100.0,
        inputs: dict[str, str] | None = None,
        facts: dict[str, Any] | None = None,
        content: str = "",
        linked: Path | None = None,
    ) -> tuple[str, str]:
        place = stage, f"{len(self.made):016x}"
        folder = self.folder(place)
        for name in FILES.get(stage, ("data",)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content or f"{name} of {place}")
        if linked is not None:
            link_or_copy(linked, folder / "shared")
        self._write(folder, place, inputs or {}, facts or {}, days)
        self.made.append(place)
        return place

    def version(self, name: str, sources: dict[str, tuple[str, str]], facts: Any = None) -> str:
        version = f"2024010{len(list(self.path.glob('published/*/*')))}t000000z-aaaaaaaa"
        folder = self.path / "published" / name / version
        folder.mkdir(parents=True)
        inputs = {
            source: self.digest(place, *SOURCES[source][1]) for source, place in sources.items()
        }
        keys = {source: place[1] for source, place in sources.items()}
        self._write(folder, ("publish", "k"), inputs, {"artifacts": facts or keys}, 100.0)
        return version

    def record(self, places: list[tuple[str, str]], state: str = "completed", **more: str) -> Path:
        runs = self.path / "runs"
        runs.mkdir(exist_ok=True)
        file = runs / f"2024{len(list(runs.iterdir())):04d}t000000z-aaaaaaaa.json"
        stages = {
            f"s{n}": {"path": f"elsewhere/stages/{p[0]}/{p[1]}"} for n, p in enumerate(places)
        }
        document = {"flow": "nightly", "name": "films", "state": state, "stages": stages, **more}
        file.write_text(json.dumps(document))
        os.utime(file, (NOW - 100 * DAY,) * 2)
        return file

    def _write(
        self, folder: Path, place: tuple[str, str], inputs: Any, facts: Any, days: float
    ) -> None:
        created = f"{10_000 - days:09.3f}-{len(self.made):04d}"
        manifest = Manifest(
            *place, version="1", created=created, settings={}, inputs=inputs, code="",
            files=inventory(folder), facts=facts,
        )  # fmt: skip
        (folder / MANIFEST).write_text(manifest.to_json())
        os.utime(folder / MANIFEST, (NOW - days * DAY,) * 2)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path / "var")


def goes(decided: Plan) -> set[tuple[str, str]]:
    parts = [Path(entry.path).parts for entry in decided.going if entry.kind == "artifact"]
    return {(stage, key) for _, stage, key in parts}


def generated(root: Root, choose: random.Random) -> None:
    """A store as years of nights of several data sets could have left it, and worse."""

    def some(stage: str) -> tuple[str, str] | None:
        return choose.choice([p for p in root.made if p[0] == stage] or [None])

    for _ in range(choose.randint(1, 25)):
        stage = choose.choice([*[s for s, _ in SOURCES.values()], "part", "snapshot", "other"])
        stage = choose.choice([stage, "neighbourhoods"])
        inputs, facts = {}, {}
        if stage == "neighbourhoods" and (graph := some("graph")) and choose.random() < 0.8:
            inputs["graph"] = root.digest(graph)
        if stage == "embed" and (table := some("neighbourhoods")):
            inputs["neighbourhoods"] = root.digest(table)
        if stage in ("snapshot", "ingest"):
            parts = [p for p in root.made if p[0] == "part" and choose.random() < 0.4]
            facts["parts"] = [[root.digest(part), 1] for part in parts]
        linked = [file for p in root.made for file in root.folder(p).rglob("*") if file.is_file()]
        linked = [file for file in linked if file.name != MANIFEST]
        root.artifact(
            stage,
            days=choose.choice([0.5, 10.0, 20.0, 30.0]) + choose.random(),
            inputs=inputs,
            facts=facts,
            content=choose.choice(["", "", "the same"]),
            linked=choose.choice(linked) if linked and choose.random() < 0.4 else None,
        )
    for _ in range(choose.randint(0, 3)):
        sources = {s: found for s, (stage, _) in SOURCES.items() if (found := some(stage))}
        gone = dict.fromkeys(sources, "removed-and-made-again")
        root.version(choose.choice(["a", "b"]), sources, choose.choice([None, gone]))
    for _ in range(choose.randint(0, 6)):
        root.record(
            choose.sample(root.made, choose.randint(0, min(4, len(root.made)))),
            state=choose.choice(["completed", "failed", "running"]),
            flow=choose.choice(["nightly", "train"]),
            name=choose.choice(["a", "b"]),
        )


def needed(root: Root, policy: RetentionConfig, place: tuple[str, str]) -> bool:
    """Asked of one artifact, from nothing but the files; what holds parts is asked in turn."""
    if is_needed_itself(root, policy, place):
        return True
    holders = [p for p in root.made if p[0] in ("snapshot", "ingest")]
    return place[0] == "part" and any(
        is_needed_itself(root, policy, each)
        and [root.digest(place), 1] in root.manifest(each)["facts"].get("parts", [])
        for each in holders
    )


def is_needed_itself(root: Root, policy: RetentionConfig, place: tuple[str, str]) -> bool:
    stage, key = place
    if (NOW - (root.folder(place) / MANIFEST).stat().st_mtime) / DAY < policy.young_days:
        return True
    for file in root.path.glob(f"published/*/*/{MANIFEST}"):
        version = json.loads(file.read_text())
        for source, (of, files) in SOURCES.items():
            is_named = version["facts"]["artifacts"].get(source) == key
            if of == stage and (
                is_named or version["inputs"].get(source) == root.digest(place, *files)
            ):
                return True
        for embed in [p for p in root.made if p[0] == "embed" and stage == "neighbourhoods"]:
            of_it = root.manifest(embed)["inputs"].get("neighbourhoods") == root.digest(place)
            is_behind = version["facts"]["artifacts"].get("embeddings") == embed[1]
            if of_it and (is_behind or version["inputs"].get("embeddings") == root.digest(embed)):
                return True
    records = {file: json.loads(file.read_text()) for file in root.path.glob("runs/*.json")}
    for file, record in records.items():
        newer = [
            other
            for name, other in records.items()
            if name > file
            and (other["flow"], other["name"]) == (record["flow"], record["name"])
            and (other["state"] == "completed") == (record["state"] == "completed")
        ]
        names = [tuple(each["path"].split("/")[-2:]) for each in record["stages"].values()]
        if len(newer) < policy.runs and place in names:
            return True
    return place in newest(root)


def newest(root: Root) -> set[tuple[str, str]]:
    def last(places: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return sorted(places, key=lambda p: root.manifest(p)["created"])[-1:]

    graphs = [p for p in root.made if p[0] == "graph"]
    tables = [
        p
        for p in root.made
        if p[0] == "neighbourhoods"
        and root.manifest(p)["inputs"].get("graph") in [root.digest(g) for g in graphs]
    ]
    found = last([p for p in root.made if p[0] == "ingest"]) + last(tables)
    wanted = [root.manifest(table)["inputs"]["graph"] for table in last(tables)]
    # Of graphs with the same content the newest night's is as good as any: one stays.
    return {*found, *[g for g in graphs if root.digest(g) in wanted][-1:]}


def bytes_on_disk(folder: Path) -> int:
    files = [each.stat() for each in folder.rglob("*") if each.is_file()]
    return sum({(each.st_dev, each.st_ino): each.st_size for each in files}.values())


@pytest.fixture(scope="module")
def scratch_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


@SETTINGS
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_what_goes_is_what_nobody_needs_and_frees_what_it_says(
    scratch_folder: Path, choose: random.Random, runs: int
) -> None:
    root = Root(Path(tempfile.mkdtemp(dir=scratch_folder)) / "var")
    generated(root, choose)
    policy = RetentionConfig(runs=runs)
    expected = {place for place in root.made if not needed(root, policy, place)}
    decided = plan(root.path, policy, now=NOW)
    assert goes(decided) == expected
    before = bytes_on_disk(root.path)
    assert collect(root.path, policy, now=NOW) == decided
    assert before - bytes_on_disk(root.path) == decided.frees
    assert {place for place in root.made if root.folder(place).exists()} == {
        place for place in root.made if place not in expected
    }
    again = plan(root.path, policy, now=NOW)
    assert goes(again) == set(), "what was needed is needed still"
    shutil.rmtree(root.path.parent)


def test_sources_are_found_as_the_explanation_finds_them() -> None:
    assert {name: SOURCES[name] for name in evidence._STAGES} == evidence._STAGES


def test_a_shared_file_is_counted_once_and_only_where_its_last_name_goes(root: Root) -> None:
    first = root.artifact("part", content="x" * 1000)
    file = root.folder(first) / "data"
    second = root.artifact("snapshot", linked=file)
    policy = RetentionConfig()
    both = plan(root.path, policy, now=NOW)
    assert goes(both) == {first, second}
    manifests = sum((root.folder(p) / MANIFEST).stat().st_size for p in (first, second))
    own = (root.folder(second) / "data").stat().st_size
    assert both.frees == manifests + own + 1000
    root.record([second])
    one = plan(root.path, policy, now=NOW)
    assert goes(one) == {first}
    assert one.frees == (root.folder(first) / MANIFEST).stat().st_size, "the file has a name left"


def test_landed_files_stay_as_long_as_a_kept_snapshot_or_ingest_holds_them(root: Root) -> None:
    held, other = root.artifact("part"), root.artifact("part")
    in_newest, gone = root.artifact("part"), root.artifact("part")
    snapshot = root.artifact("snapshot", facts={"parts": [[root.digest(held), 1]]})
    unneeded = root.artifact("snapshot", facts={"parts": [[root.digest(other), 1]]})
    old = root.artifact("ingest", days=101, facts={"parts": [[root.digest(gone), 1]]})
    root.artifact("ingest", facts={"parts": [[root.digest(in_newest), 1]]})
    root.record([snapshot])
    assert goes(plan(root.path, RetentionConfig(), now=NOW)) == {other, gone, unneeded, old}


def test_what_a_killed_run_had_made_stays(root: Root) -> None:
    made, other = root.artifact("split"), root.artifact("split")
    root.record([made], state="running")
    assert goes(plan(root.path, RetentionConfig(), now=NOW)) == {other}


def test_runs_that_fail_push_no_run_that_succeeded_out(root: Root) -> None:
    good, bad = root.artifact("split"), root.artifact("split")
    root.record([good])
    for _ in range(20):
        root.record([bad], state="failed")
    assert goes(plan(root.path, RetentionConfig(runs=1), now=NOW)) == set()


def test_a_reason_names_who_needs_it(root: Root) -> None:
    ingested, split = root.artifact("ingest"), root.artifact("split")
    version = root.version("films", {"items": ingested})
    record = root.record([ingested, split])
    why = {entry.path: entry.why for entry in plan(root.path, RetentionConfig(), now=NOW).entries}
    assert why[f"stages/ingest/{ingested[1]}"] == f"published films {version}"
    assert why[f"stages/split/{split[1]}"] == f"run {record.stem}"


def test_folders_that_are_no_artifacts_are_left_alone(root: Root) -> None:
    root.artifact("split")
    notes = root.path / "stages" / "notes" / "mine"
    notes.mkdir(parents=True)
    (notes / "note.txt").write_text("keep")
    downloads = root.path / "data" / "movielens"
    downloads.mkdir(parents=True)
    (downloads / "ratings.csv").write_text("1,2")
    collect(root.path, RetentionConfig(), now=NOW)
    assert (notes / "note.txt").exists()
    assert (downloads / "ratings.csv").exists()


def test_a_damaged_record_or_version_stops_nothing_and_is_told(
    root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    unneeded = root.artifact("split")
    (root.path / "runs").mkdir()
    (root.path / "runs" / "20240101t000000z-aaaaaaaa.json").write_text("{")
    version = root.path / "published" / "films" / "20240101t000000z-aaaaaaaa"
    version.mkdir(parents=True)
    (version / MANIFEST).write_text("{")
    assert goes(plan(root.path, RetentionConfig(), now=NOW)) == {unneeded}
    assert "damaged record" in caplog.text
    assert "damaged version" in caplog.text
