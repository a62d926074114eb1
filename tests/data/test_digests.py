"""A file that did not change is not read again; one that did is, however alike it looks."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from pinsage.data import digests
from pinsage.data.digests import Digests
from pinsage.store import file_digest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "log" / "a.csv"
    path.parent.mkdir()
    path.write_text("before")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read, in the order of their reading."""
    found: list[Path] = []

    def read(path: Path) -> str:
        found.append(path)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", read)
    return found


def look(file: Path, memory: Path | None) -> str:
    known = Digests(file.parent, memory)
    digest = known.of(file)
    known.remember()
    return digest


def settle() -> None:
    time.sleep(2.05)


@pytest.mark.slow
def test_an_unchanged_file_is_read_once(file: Path, reads: list[Path], tmp_path: Path) -> None:
    settle()
    assert look(file, tmp_path) == look(file, tmp_path) == file_digest(file)
    assert reads == [file]


@pytest.mark.slow
def test_a_change_of_the_same_size_and_date_is_seen(file: Path, tmp_path: Path) -> None:
    settle()
    before, found = look(file, tmp_path), file.stat()
    file.write_text("behind")
    os.utime(file, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert file.stat().st_size == found.st_size
    assert file.stat().st_mtime_ns == found.st_mtime_ns
    assert look(file, tmp_path) == file_digest(file) != before


def test_a_file_that_was_just_written_is_read_again(
    file: Path, reads: list[Path], tmp_path: Path
) -> None:
    look(file, tmp_path)
    look(file, tmp_path)
    assert reads == [file, file]


def test_without_a_memory_nothing_is_remembered(file: Path, reads: list[Path]) -> None:
    look(file, None)
    look(file, None)
    assert reads == [file, file]


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["", "{", "[1]", "\udc00"])
def test_a_broken_memory_is_only_read_over(file: Path, tmp_path: Path, broken: str) -> None:
    settle()
    expected = look(file, tmp_path)
    (memory,) = tmp_path.glob("*.json")
    memory.write_bytes(broken.encode(errors="surrogatepass"))
    assert look(file, tmp_path) == expected
    assert list(json.loads(memory.read_text()).values()) == [expected]
