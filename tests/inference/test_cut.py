"""Files of parts: whole or made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from pinsage.config import EmbedConfig
from pinsage.inference.cut import Cut, Rows, read_rows, write_rows
from pinsage.inference.engine import Job

_ROWS = 10


@pytest.fixture
def cut(tmp_path: Path) -> Cut:
    return _cut(tmp_path, 2 * _ROWS, parts=2)


def _cut(folder: Path, num_rows: int, *, parts: int) -> Cut:
    job = Job(folder, folder, folder, folder, folder, folder, EmbedConfig(), threads=1)
    return Cut(
        job, folder, num_rows, parts, layers=1, by_locality=False, lasting=False, attempt="first"
    )


def _zeroed(path: Path) -> None:
    """As after a power failure: the size is right, and a page of it never came to the disk."""
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(100)
    path.write_bytes(content)


def _zeroed_in_its_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:] = bytes(len(content) - 60)
    path.write_bytes(content)


def _of_another_type(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"<f4", b"<i4", 1))


def _shortened(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _without_sum(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def _of_another_length(path: Path) -> None:
    write_rows(path, _ROWS + 1, [np.ones((_ROWS + 1, 4), dtype=np.float32)])


_DAMAGE = [_zeroed, _zeroed_in_its_header, _of_another_type, _shortened, _without_sum,
           _of_another_length, Path.unlink]  # fmt: skip


@pytest.mark.parametrize("damage", _DAMAGE)
def test_a_damaged_file_is_missing(cut: Cut, damage: Callable[[Path], object]) -> None:
    for part in range(2):
        write_rows(cut.layer(1, part), _ROWS, [np.ones((_ROWS, 4), dtype=np.float32)])
    assert cut.missing("layer-1") == []
    damage(cut.layer(1, 1))
    assert cut.missing("layer-1") == [1]


_KINDS = st.sampled_from(["float32", "int16", "int32"])
_SHAPES = st_numpy.array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=7)


def test_a_file_that_is_to_outlive_its_machine_is_on_the_disk_before_it_is_there(
    cut: Cut, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bool] = []
    flush = os.fsync

    def flushed(descriptor: int) -> None:
        written.append(cut.layer(0, 0).exists())
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", flushed)
    rows = np.ones((_ROWS, 4), dtype=np.float32)
    write_rows(cut.layer(0, 0), _ROWS, [rows], lasting=True)
    write_rows(cut.layer(0, 1), _ROWS, [rows])
    assert written == [False]
    assert cut.missing("layer-0") == []


@given(_KINDS.flatmap(lambda kind: st_numpy.arrays(kind, _SHAPES)), st.integers(1, 4))
def test_rows_come_back_however_they_were_cut(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, size: int
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    path = folder / "layer-0-0.npy"
    blocks: list[npt.NDArray[np.generic]] = [rows[k : k + size] for k in range(0, len(rows), size)]
    write_rows(path, len(rows), blocks)
    np.testing.assert_array_equal(read_rows(path), rows)
    np.testing.assert_array_equal(np.load(path), rows)
    assert _cut(folder, len(rows), parts=1).missing("layer-0") == []
