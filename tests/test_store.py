"""Artifacts: found or built, complete or not visible, verified when read."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinsage import files as module
from pinsage.errors import AbandonedError, ArtifactError, TrainingError
from pinsage.files import discard, publish_folder, staging_folder, write_atomic
from pinsage.store import (
    MANIFEST,
    Artifact,
    Facts,
    Store,
    Workspace,
    code_digest,
    digest_of,
    inventory,
    open_artifact,
    verify,
)

CODE = ("pinsage.errors",)
Edit = Callable[[Path], object]


def write_two_files(work: Workspace) -> Facts:
    (work.path / "a.txt").write_text("alpha")
    (work.path / "deep").mkdir()
    (work.path / "deep" / "b.bin").write_bytes(bytes(range(256)))
    return {"num_rows": 3}


def make(root: Path, build: Callable[[Workspace], Facts] = write_two_files, **key: Any) -> Artifact:
    arguments: dict[str, Any] = {"settings": {"size": 1}, "inputs": {"x": "1"}, "code": CODE, **key}
    return Store(root).stage("stage", build, **arguments)


def leftovers(root: Path) -> list[Path]:
    return [*root.rglob(".staging-*"), *root.rglob("*.lock")]


@pytest.mark.parametrize(("error", "is_kept"), [(TrainingError, True), (AbandonedError, False)])
def test_what_failed_can_be_resumed_and_what_was_abandoned_is_gone(
    tmp_path: Path, error: type[Exception], is_kept: bool
) -> None:
    def build(work: Workspace) -> Facts:
        (work.scratch / "checkpoint").write_text("half")
        raise error("no more")

    with pytest.raises(error, match="no more"):
        make(tmp_path, build)
    assert bool(list(tmp_path.rglob("checkpoint"))) == is_kept
    assert not list(tmp_path.rglob(".staging-*"))


class TestKey:
    def test_equal_settings_inputs_and_code_find_the_artifact(self, tmp_path: Path) -> None:
        first, second = make(tmp_path), make(tmp_path)
        assert (first.reused, second.reused) == (False, True)
        assert second.manifest == first.manifest
        assert second.facts == {"num_rows": 3}

    @pytest.mark.parametrize(
        "change",
        [{"settings": {"size": 2}}, {"inputs": {"x": "2"}}, {"code": ("pinsage.measure",)}],
        ids=["settings", "inputs", "code"],
    )
    def test_any_change_builds_anew_and_keeps_the_old(
        self, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        first = make(tmp_path)
        other = make(tmp_path, **change)
        assert not other.reused
        assert other.manifest.key != first.manifest.key
        assert open_artifact(first.path).manifest == first.manifest

    @given(st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False)))
    def test_digest_is_independent_of_key_order(self, value: dict[str, Any]) -> None:
        assert digest_of(value) == digest_of(dict(reversed(list(value.items()))))

    def test_digest_tells_different_values_apart(self) -> None:
        values = [{}, {"a": 1}, {"a": "1"}, {"a": 1.5}, {"b": 1}, {"a": [1]}, {"a": None}, [1], "a"]
        assert len({digest_of(value) for value in values}) == len(values)

    def test_digest_of_an_artifact_is_that_of_its_content_alone(self, tmp_path: Path) -> None:
        one, other = make(tmp_path / "one"), make(tmp_path / "two", settings={"size": 2})
        assert one.digest() == other.digest()
        assert one.digest("a.txt") != one.digest()
        assert one.digest("deep/") == one.digest("deep/b.bin")


class TestFailedBuild:
    def test_leaves_nothing_visible_and_keeps_what_was_there(self, tmp_path: Path) -> None:
        good = make(tmp_path)

        def fail(work: Workspace) -> Facts:
            write_two_files(work)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, fail, settings={"size": 2})
        assert list((tmp_path / "stages" / "stage").iterdir()) == [good.path]
        assert open_artifact(good.path).manifest == good.manifest

    def test_keeps_its_scratch_until_it_succeeds(self, tmp_path: Path) -> None:
        seen: list[bool] = []

        def resume(work: Workspace) -> Facts:
            mark = work.scratch / "mark"
            seen.append(mark.exists())
            mark.write_text("half done")
            if len(seen) == 1:
                raise RuntimeError("stopped")
            return {}

        with pytest.raises(RuntimeError, match="stopped"):
            make(tmp_path, resume)
        make(tmp_path, resume)
        assert seen == [False, True]
        assert not list((tmp_path / "scratch" / "stage").iterdir())

    def test_facts_that_are_no_json_leave_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError):
            make(tmp_path, lambda work: {"bad": object()})
        assert not list((tmp_path / "stages" / "stage").iterdir())

    def test_root_that_is_a_file_is_one_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "var").write_text("")
        with pytest.raises(ArtifactError, match=r"var/.*cannot be made.*check `root`"):
            make(tmp_path / "var")


def flip_bit(path: Path, position: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= 1
    path.write_bytes(content)


class TestDamage:
    @pytest.mark.parametrize(
        ("name", "damage", "words"),
        [
            ("deep/b.bin", lambda p: p.write_bytes(p.read_bytes()[:-1]), "255 bytes .* says 256"),
            ("deep/b.bin", flip_bit, "does not match its checksum"),
            ("deep/b.bin", Path.unlink, "missing"),
            (MANIFEST, lambda p: p.write_text(p.read_text()[:50]), "broken manifest"),
            (MANIFEST, lambda p: p.write_bytes(b"\xff\xfe"), "broken manifest"),
            (MANIFEST, lambda p: p.write_text("[]"), "broken manifest"),
            (MANIFEST, lambda p: p.write_text('{"digest": "0"}'), "broken manifest"),
            (MANIFEST, lambda p: p.write_text(""), "broken manifest"),
            (MANIFEST, Path.unlink, "no such file"),
        ],
    )
    def test_names_the_file_and_the_remedy(
        self, tmp_path: Path, name: str, damage: Edit, words: str
    ) -> None:
        artifact, other = make(tmp_path), make(tmp_path, settings={"size": 2})
        damage(artifact.path / name)
        with pytest.raises(ArtifactError, match=f"{name}: .*{words}.*delete .* and run again"):
            make(tmp_path)
        assert make(tmp_path, settings={"size": 2}).manifest == other.manifest
        shutil.rmtree(artifact.path)  # the remedy
        assert not make(tmp_path).reused

    def test_no_flipped_bit_of_a_manifest_goes_unnoticed(self, tmp_path: Path) -> None:
        artifact = make(tmp_path)
        source = artifact.path / MANIFEST
        whole = source.read_bytes()
        for position in range(len(whole)):
            flip_bit(source, position)
            with pytest.raises(ArtifactError, match=re.escape(str(source))):
                open_artifact(artifact.path)
            source.write_bytes(whole)

    def test_remedy_of_a_published_version_is_to_publish_again(self, tmp_path: Path) -> None:
        version = tmp_path / "published" / "films" / "v1"
        shutil.copytree(make(tmp_path / "published").path, version)
        flip_bit(version / "a.txt")
        with pytest.raises(ArtifactError, match="publish again, or go back with `pinsage rollb"):
            open_artifact(version)

    def test_root_below_a_folder_named_published_is_not_taken_for_a_version(
        self, tmp_path: Path
    ) -> None:
        artifact = make(tmp_path / "published")
        flip_bit(artifact.path / "a.txt")
        with pytest.raises(ArtifactError, match=r"delete .* and run again"):
            open_artifact(artifact.path)

    def test_file_that_the_artifact_does_not_have(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"has no file c\.txt \(it has a\.txt, deep/b\.bi"):
            make(tmp_path).file("c.txt")

    def test_inventory_lists_files_named_like_the_manifest_further_down(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "below").mkdir()
        for file in (tmp_path / MANIFEST, tmp_path / "below" / MANIFEST):
            file.write_text("{}")
        files = inventory(tmp_path)
        assert set(files) == {f"below/{MANIFEST}"}
        verify(tmp_path, files)


class TestStaging:
    def test_of_dead_processes_is_swept_and_of_living_ones_kept(self, tmp_path: Path) -> None:
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        folder = tmp_path / "stages" / "stage"
        gone = folder / f".staging-{dead.pid}-0"
        kept = [folder / f".staging-{pid}-0" for pid in (os.getpid(), os.getppid(), 1)]
        strange = folder / ".staging-of-someone-else"
        part = folder / f".staging-{dead.pid}-1"
        for each in (gone, strange, *kept):
            each.mkdir(parents=True)
        part.write_text("half a file")
        make(tmp_path)
        assert not gone.exists()
        assert not part.exists()
        assert all(each.exists() for each in [*kept, strange])

    def test_second_finisher_of_the_same_work_takes_the_first_ones(self, tmp_path: Path) -> None:
        done = make(tmp_path)
        with staging_folder(done.path) as staging:
            (staging / "late.txt").write_text("late")
            publish_folder(staging, done.path)
        assert open_artifact(done.path).manifest == done.manifest
        assert not leftovers(tmp_path)

    def test_discarded_folder_is_gone_with_all_it_holds(self, tmp_path: Path) -> None:
        artifact = make(tmp_path)
        discard(artifact.path)
        assert not artifact.path.exists()
        assert not leftovers(tmp_path)


class TestTwoProcesses:
    SCRIPT = """
import sys, time
from pathlib import Path
from pinsage.store import Store
root, start = Path(sys.argv[1]), float(sys.argv[2])

def build(work):
    for part in range(5):  # like checkpoints: they must not go while the other still writes
        (work.scratch / f"step-{part}").write_text("x")
        time.sleep(0.02)
    (work.path / "a.txt").write_text("alpha")
    return {}

time.sleep(max(0.0, start - time.time()))
artifact = Store(root).stage("stage", build, settings={}, inputs={}, code=("pinsage.errors",))
print(artifact.reused)
"""

    def test_end_with_one_artifact_that_one_of_them_built(self, tmp_path: Path) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(tmp_path), str(time.time() + 1.0)]
        runs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        results = [run.communicate(timeout=30) for run in runs]
        assert [errors for _, errors in results] == [""] * 3
        assert sorted(out.strip() for out, _ in results) == ["False", "True", "True"]
        assert len(list((tmp_path / "stages" / "stage").iterdir())) == 1
        assert not list((tmp_path / "scratch" / "stage").iterdir())


class TestKill:
    SCRIPT = """
import sys
from pathlib import Path
from pinsage.store import Store

def build(work):
    for part in range(40):
        (work.path / f"part-{part}").write_bytes(bytes(100_000))
    return {"num_parts": 40}

number = 0
while True:
    number += 1
    Store(Path(sys.argv[1])).stage(
        "stage", build, settings={"number": number}, inputs={}, code=("pinsage.errors",)
    )
    print(number, flush=True)
"""

    @pytest.mark.parametrize("seed", range(6))
    def test_no_artifact_is_ever_visible_incomplete(self, tmp_path: Path, seed: int) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(tmp_path)]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert run.stdout is not None
        run.stdout.readline()  # one is built: the next is on its way
        time.sleep(random.Random(seed).uniform(0.0, 0.15))  # noqa: S311
        run.send_signal(signal.SIGKILL)
        built = [1, *map(int, run.stdout.read().split())]
        run.wait()
        run.stdout.close()
        visible = [p for p in (tmp_path / "stages" / "stage").iterdir() if p.name[0] != "."]
        assert len(visible) >= len(built)
        for path in visible:
            assert len(open_artifact(path).manifest.files) == 40
        make(tmp_path)
        assert not list((tmp_path / "stages" / "stage").glob(".staging-*"))

    def test_scratch_left_by_a_kill_after_the_end_goes_at_the_next_use(
        self, tmp_path: Path
    ) -> None:
        scratch = tmp_path / "scratch" / "stage" / make(tmp_path).manifest.key
        (scratch / "step-1").mkdir(parents=True)
        assert make(tmp_path).reused
        assert not scratch.exists()


class TestWriteAtomic:
    def test_a_concurrent_reader_never_sees_a_part(self, tmp_path: Path) -> None:
        path = tmp_path / "below" / "text"
        texts = ["a" * 200_000, "b" * 100_000]
        write_atomic(path, texts[0])
        strange: list[int] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                text = path.read_text()
                if text not in texts:
                    strange.append(len(text))

        reader = threading.Thread(target=read)
        reader.start()
        for number in range(100):
            write_atomic(path, texts[number % 2])
        done.set()
        reader.join()
        assert strange == []
        assert list(path.parent.iterdir()) == [path]

    def test_failure_keeps_the_old_text(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "text"
        write_atomic(path, "old")

        def fail(*_: object) -> None:
            raise OSError("the disk went away")

        monkeypatch.setattr(module, "_fsync", fail)
        with pytest.raises(OSError, match="went away"):
            write_atomic(path, "new")
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]


def test_manifest_says_what_made_the_artifact(tmp_path: Path) -> None:
    artifact = make(tmp_path)
    manifest = artifact.manifest
    assert (manifest.stage, manifest.settings, manifest.inputs) == (
        "stage",
        {"size": 1},
        {"x": "1"},
    )
    assert manifest.code == code_digest(CODE)
    assert {name: entry.bytes for name, entry in manifest.files.items()} == {
        "a.txt": 5, "deep/b.bin": 256,
    }  # fmt: skip
    assert manifest.seconds >= 0
    assert manifest.peak_mib > 1
    text = (artifact.path / MANIFEST).read_text()
    assert set(json.loads(text)) == {f.name for f in dataclasses.fields(manifest)} | {"digest"}
    assert manifest.to_json() == text
