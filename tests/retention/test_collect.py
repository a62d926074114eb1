"""Removing: never under a process that works in the root, and never by halves."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pinsage.config import RetentionConfig
from pinsage.files import holders, locked
from pinsage.retention.plan import collect, plan
from pinsage.store import IN_USE, MANIFEST, Artifact, Facts, Store, Workspace, open_artifact

DAY = 86_400.0
POLICY = RetentionConfig(young_days=0)


def build(work: Workspace) -> Facts:
    (work.path / "data").write_text("x" * 100)
    return {}


def made(root: Path, key: int = 0, stage: str = "split") -> Artifact:
    return Store(root).stage(
        stage, build, settings={"key": key}, inputs={}, code=("pinsage.errors",)
    )


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """One that says "ready" when it has done `code`, and then waits to be killed."""
    text = f"import sys, time, pathlib\n{code}\nprint('ready', flush=True)\ntime.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


STORE_OPEN = """
from pinsage.store import Store
def build(work):
    return {}
store = Store(pathlib.Path(sys.argv[1]))
store.stage("split", build, settings={"key": 1}, inputs={}, code=("pinsage.errors",))
"""
STAGE_UNFINISHED = """
from pinsage.files import locked
lock = pathlib.Path(sys.argv[1])
holding = locked(lock)
holding.__enter__()
"""


def test_nothing_goes_while_a_process_has_the_store_open_and_all_goes_after(tmp_path: Path) -> None:
    unneeded = made(tmp_path)
    with another_process(STORE_OPEN, tmp_path) as process:
        decided = collect(tmp_path, POLICY)
        assert decided.in_use
        assert decided.users == (process.pid,)
        assert decided.going, "the plan is made all the same"
        assert open_artifact(unneeded.path).facts == {}
        assert plan(tmp_path, POLICY).in_use
    decided = collect(tmp_path, POLICY)
    assert not decided.in_use
    assert not unneeded.path.exists()


def test_a_store_is_held_from_its_first_stage_until_it_is_closed_or_forgotten(
    tmp_path: Path,
) -> None:
    def use(store: Store) -> None:
        store.stage("split", build, settings={}, inputs={}, code=("pinsage.errors",))

    store = Store(tmp_path)
    assert not (tmp_path / IN_USE).exists()
    use(store)
    assert holders(tmp_path / IN_USE) == [os.getpid()]
    assert collect(tmp_path, POLICY).in_use
    store.close()
    assert not collect(tmp_path, POLICY).in_use
    use(store)
    assert collect(tmp_path, POLICY).in_use
    del store
    assert not collect(tmp_path, POLICY).in_use


def test_an_open_store_travels_to_another_process_as_its_root_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.stage("split", build, settings={}, inputs={}, code=("pinsage.errors",))
    there = copy.deepcopy(store)  # goes the way that pickling goes
    store.close()
    assert there.root == tmp_path
    assert not collect(tmp_path, POLICY).in_use


def test_a_stage_waits_until_removing_is_done(tmp_path: Path) -> None:
    unneeded = made(tmp_path)
    with locked(tmp_path / IN_USE):
        code = STORE_OPEN.replace('"key": 1', '"key": 0')
        process = subprocess.Popen(
            [sys.executable, "-c", f"import sys, pathlib\n{code}", str(tmp_path)]
        )
        time.sleep(1.5)
        assert process.poll() is None
        os.rename(unneeded.path, unneeded.path.parent / ".staging-1-aa")  # as removing does
    assert process.wait(20) == 0
    assert open_artifact(unneeded.path).facts == {}, "it was made again, not lost"


@pytest.fixture
def unfinished(tmp_path: Path) -> Callable[..., Path]:
    def make(key: str = "k", days: float = 100.0) -> Path:
        folder = tmp_path / "scratch" / "train" / key
        folder.mkdir(parents=True)
        (folder / "step-1").write_text("weights")
        folder.with_suffix(".lock").touch()
        for path in (folder / "step-1", folder, folder.with_suffix(".lock")):
            os.utime(path, (time.time() - days * DAY,) * 2)
        return folder

    return make


def test_checkpoints_that_nobody_went_on_with_go_with_their_lock(
    tmp_path: Path, unfinished: Callable[..., Path]
) -> None:
    old, young = unfinished("old"), unfinished("young", days=3)
    decided = collect(tmp_path, POLICY)
    assert [entry.path for entry in decided.going] == ["scratch/train/old"]
    assert decided.frees == len("weights")
    assert not old.exists()
    assert not old.with_suffix(".lock").exists()
    assert (young / "step-1").read_text() == "weights"


def test_checkpoints_of_a_stage_that_a_process_builds_stay_however_old(
    tmp_path: Path, unfinished: Callable[..., Path]
) -> None:
    folder = unfinished()
    with another_process(STAGE_UNFINISHED, folder.with_suffix(".lock")):
        decided = collect(tmp_path, POLICY)
        assert [(entry.goes, entry.why) for entry in decided.entries] == [
            (False, "a process is building it")
        ]
        assert (folder / "step-1").exists()
    assert [entry.goes for entry in collect(tmp_path, POLICY).entries] == [True]


def test_what_a_finished_stage_has_left_in_scratch_goes_at_once(tmp_path: Path) -> None:
    path = made(tmp_path, stage="train").path
    left = tmp_path / "scratch" / "train" / path.name
    left.mkdir()
    collect(tmp_path, RetentionConfig())
    assert not left.exists()
    assert path.exists()


def test_old_records_go_and_the_newest_runs_stay_however_old(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for number in range(4):
        file = tmp_path / "runs" / f"2020010{number}t000000z-aaaaaaaa.json"
        file.write_text('{"flow": "nightly", "name": "films", "state": "completed"}')
        os.utime(file, (time.time() - (3 if number == 0 else 999) * DAY,) * 2)
    collect(tmp_path, RetentionConfig(runs=2))
    left = sorted(file.name[:8] for file in (tmp_path / "runs").iterdir())
    assert left == ["20200100", "20200102", "20200103"], "a young one, and the newest two"


KILLED = """
import os, shutil, signal
from pinsage.config import RetentionConfig
from pinsage.retention.plan import collect
removed = []
def remove(path, ignore_errors=False):
    removed.append(path)
    if len(removed) == 2:
        next(pathlib.Path(path).glob("data")).unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    real(path, ignore_errors)
real, shutil.rmtree = shutil.rmtree, remove
collect(pathlib.Path(sys.argv[1]), RetentionConfig(young_days=0))
"""


def test_killed_in_the_middle_leaves_no_artifact_by_halves_and_the_next_time_ends_it(
    tmp_path: Path,
) -> None:
    paths = [made(tmp_path, key).path for key in range(4)]
    code = f"import sys, pathlib\n{KILLED}"
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert run.returncode == -signal.SIGKILL
    there = [path for path in paths if path.exists()]
    assert len(there) == 2
    assert all(open_artifact(path).facts == {} for path in there)
    [half] = (tmp_path / "stages" / "split").glob(".staging-*")
    assert not (half / "data").exists()
    collect(tmp_path, POLICY)
    assert [path for path in paths if path.exists()] == []
    assert half.exists(), "the process may be one of another host: its folders stay for a day"
    os.utime(half, (time.time() - 2 * DAY,) * 2)
    collect(tmp_path, POLICY)
    assert not half.exists()


def test_planning_changes_nothing(tmp_path: Path, unfinished: Callable[..., Path]) -> None:
    made(tmp_path)
    unfinished()
    before = {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))}
    assert len(plan(tmp_path, POLICY).going) == 2
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))} == before


def test_a_root_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert collect(tmp_path / "none", POLICY).entries == ()
    assert not (tmp_path / "none").exists()


def test_a_lock_that_was_removed_while_one_waited_is_taken_anew(tmp_path: Path) -> None:
    """Else the one who waited and the next to come would both think that they are alone."""
    lock = tmp_path / "a.lock"
    code = (
        "import sys, pathlib\nfrom pinsage.files import locked\nlock = pathlib.Path(sys.argv[1])\n"
        "with locked(lock):\n    print(lock.exists())"
    )
    with locked(lock):
        waiting = subprocess.Popen(
            [sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True
        )
        time.sleep(1.5)
        lock.unlink()
    assert waiting.communicate(timeout=20)[0] == "True\n"


def test_a_manifest_alone_is_enough_for_an_artifact_to_be_seen(tmp_path: Path) -> None:
    path = made(tmp_path).path
    (path / MANIFEST).write_text("{")
    assert [entry.goes for entry in plan(tmp_path, POLICY).entries] == [True]
