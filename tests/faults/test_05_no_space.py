"""Rows 5 and 6: no space left in a checkpoint, a stage or a publication.

A limit on the size of a file does it everywhere, in a process of its own; a tiny file system does
it for every library that writes, where the tests may mount one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from pinsage.errors import ArtifactError
from pinsage.files import write_atomic
from pinsage.retrieval.published import load_published
from pinsage.store import Facts, Store, Workspace
from pinsage.training.checkpoint import Checkpoint, Checkpoints

if TYPE_CHECKING:
    from tests.faults.conftest import Start

MIB = 1 << 20
Write = Callable[[Path], object]

LIMITED = """
import json, resource, signal, sys
from pathlib import Path
import torch
from pinsage.config import parse_config
from pinsage.errors import PinSageError
from pinsage.retrieval.publish import publish
from pinsage.store import open_artifact
from pinsage.training.checkpoint import Checkpoint, Checkpoints

folder, config = Path(sys.argv[1]), parse_config(json.loads(sys.argv[2]))
artifacts = {name: open_artifact(Path(path)) for name, path in json.loads(sys.argv[3]).items()}

def attempt(limit, action):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        action()
        return "no error"
    except PinSageError as error:
        return f"{error.exit_code} {error}"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = Checkpoints(folder)
checkpoints.save(1, Checkpoint({"weights": torch.ones(10)}, {"step": 1}))
large = Checkpoint({"weights": torch.ones(100_000)}, {"step": 2})
print(json.dumps({
    "checkpoint": attempt(10_000, lambda: checkpoints.save(2, large)),
    "publish": attempt(500, lambda: publish(config, **artifacts)),
    "latest": checkpoints.latest().state["step"],
}))
"""


def test_limited_file_size_is_one_clear_error_and_loses_nothing(
    tiny_run: SimpleNamespace, tmp_path: Path, start: Start
) -> None:
    config = tiny_run.config.model_copy(update={"root": tmp_path / "var", "name": "other"})
    shelf = config.root / "published" / "other"
    shutil.copytree(tiny_run.config.root / "published" / "tiny", shelf)
    before = sorted(path.name for path in shelf.iterdir())
    paths = {
        "ingested": tiny_run.ingest, "built": tiny_run.full_graph, "trained": tiny_run.train,
        "evaluated": tiny_run.evaluate, "embedded": tiny_run.embed, "indexed": tiny_run.index,
        "reported": tiny_run.report,
    }  # fmt: skip
    process = start(
        LIMITED,
        tmp_path / "checkpoints",
        json.dumps(config.model_dump(mode="json")),
        json.dumps({name: str(artifact.path) for name, artifact in paths.items()}),
    )
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    result = json.loads(out)
    for step, where in (("checkpoint", "step-0000000002"), ("publish", str(shelf))):
        assert result[step].startswith("2 ")
        assert where in result[step]
        assert "no space left to write it" in result[step]
        assert result[step].endswith("what was there before is untouched: free some space and "
                                     "run again")  # fmt: skip
    assert result["latest"] == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-0000000001"]
    assert sorted(path.name for path in shelf.iterdir()) == before
    assert load_published(config.root, "other").version == tiny_run.version.name


@pytest.fixture(scope="module")
def tiny_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system; the test above covers the rest")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def write_index(folder: Path) -> None:
    import faiss

    index = faiss.IndexFlatIP(64)
    index.add(np.ones((8192, 64), dtype=np.float32))
    faiss.write_index(index, str(folder / "index.faiss"))


def copy(folder: Path) -> None:
    (folder / "a").write_bytes(bytes(MIB * 3 // 4))
    shutil.copyfile(folder / "a", folder / "b")


WRITERS: dict[str, Write] = {
    "numpy": lambda folder: np.save(folder / "a.npy", np.ones(MIB)),
    "parquet": lambda folder: pq.write_table(
        pa.table({"a": pa.array(np.random.default_rng(0).normal(size=MIB))}), folder / "a.parquet"
    ),
    "safetensors": lambda folder: save_file({"a": torch.ones(MIB)}, folder / "a.safetensors"),
    "faiss": write_index,
    "text": lambda folder: (folder / "a.txt").write_text("x" * 2 * MIB),
    "copy": copy,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_in_a_stage_is_one_clear_error_whoever_writes(
    tiny_disk: Path, writer: str
) -> None:
    store = Store(tiny_disk / "var")

    def build(work: Workspace) -> Facts:
        WRITERS[writer](work.path)
        return {}

    def small(work: Workspace) -> Facts:
        (work.path / "a").write_text("a")
        return {}

    kept = store.stage("small", small, settings={}, inputs={}, code=("pinsage.errors",))
    with pytest.raises(ArtifactError, match=r"stages/large/\w+: no space left .*free some space"):
        store.stage("large", build, settings={}, inputs={}, code=("pinsage.errors",))
    assert not list((tiny_disk / "var" / "stages" / "large").iterdir())
    again = store.stage("small", small, settings={}, inputs={}, code=("pinsage.errors",))
    assert again.reused
    assert again.manifest == kept.manifest


def test_full_disk_in_a_checkpoint_keeps_the_last_good_one(tiny_disk: Path) -> None:
    checkpoints = Checkpoints(tiny_disk / "checkpoints")
    checkpoints.save(1, Checkpoint({"weights": torch.ones(10)}, {"step": 1}))
    with pytest.raises(ArtifactError, match=r"step-0000000002: no space left to write it"):
        checkpoints.save(2, Checkpoint({"weights": torch.ones(MIB)}, {"step": 2}))
    found = checkpoints.latest()
    assert found is not None
    assert found.state == {"step": 1}
    assert [path.name for path in (tiny_disk / "checkpoints").iterdir()] == ["step-0000000001"]


def test_full_disk_in_a_small_file_keeps_the_old_one(tiny_disk: Path) -> None:
    pointer = tiny_disk / "CURRENT"
    write_atomic(pointer, "old\n")
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(bytes(2 * MIB))
    with pytest.raises(ArtifactError, match="CURRENT: no space left to write it"):
        write_atomic(pointer, "new" * 2000)
    assert pointer.read_text() == "old\n"
    filler.unlink()
    assert sorted(path.name for path in tiny_disk.iterdir() if path.is_file()) == ["CURRENT"]


def test_other_failures_are_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    def build(work: Workspace) -> Facts:
        raise PermissionError(13, "Permission denied", "some file")

    with pytest.raises(PermissionError):
        Store(tmp_path).stage("a", build, settings={}, inputs={}, code=("pinsage.errors",))
