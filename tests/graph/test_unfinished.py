"""A table that grows on disk: what is counted is whole, and goes on after whatever was left."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pinsage.graph.neighbourhoods import Rows
from pinsage.graph.unfinished import UnfinishedTable

NEIGHBORS = np.arange(21, dtype=np.int32).reshape(7, 3)
WEIGHTS = np.linspace(0, 1, 21, dtype=np.float32).reshape(7, 3)


def rows(first: int, last: int) -> Rows:
    return NEIGHBORS[first:last], WEIGHTS[first:last]


def finish(table: UnfinishedTable, block: int = 2) -> None:
    while not table.is_finished:
        first = table.finished.rows
        table.append(rows(first, first + block), walked=1)


def test_the_files_are_those_that_numpy_saves(tmp_path: Path) -> None:
    table = UnfinishedTable(tmp_path, 7, 3)
    finish(table)
    assert (table.finished.rows, table.finished.walked) == (7, 4)
    for name, values in (("neighbors", NEIGHBORS), ("weights", WEIGHTS)):
        np.save(tmp_path / "expected.npy", values)
        written = (tmp_path / f"{name}.npy").read_bytes()
        assert written == (tmp_path / "expected.npy").read_bytes()
    np.testing.assert_array_equal(table.open().neighbors, NEIGHBORS)


def test_an_empty_table_is_finished_at_once(tmp_path: Path) -> None:
    table = UnfinishedTable(tmp_path, 0, 3)
    assert table.is_finished
    assert table.open().neighbors.shape == (0, 3)


def test_it_goes_on_after_a_torn_block(tmp_path: Path) -> None:
    table = UnfinishedTable(tmp_path, 7, 3)
    table.append(rows(0, 2), walked=2)
    for name in ("neighbors.npy", "weights.npy"):
        with (tmp_path / name).open("ab") as stream:
            stream.write(b"\xff" * 17)  # more than a row, counted by nobody
    again = UnfinishedTable(tmp_path, 7, 3)
    assert (again.finished.rows, again.finished.walked) == (2, 2)
    finish(again)
    np.testing.assert_array_equal(again.open().neighbors, NEIGHBORS)
    np.testing.assert_array_equal(again.open().weights, WEIGHTS)


@pytest.mark.parametrize(
    "mark",
    [
        "",
        "[]",
        '{"rows": 2}',
        json.dumps({"num_items": 7, "size": 3, "rows": 5, "walked": 5}),  # more than the files hold
        json.dumps({"num_items": 7, "size": 3, "rows": 8, "walked": 8}),
        json.dumps({"num_items": 6, "size": 3, "rows": 2, "walked": 2}),
        json.dumps({"num_items": 7, "size": 3, "rows": -1, "walked": 0}),
    ],
)
def test_it_begins_anew_where_the_mark_cannot_be_true(tmp_path: Path, mark: str) -> None:
    UnfinishedTable(tmp_path, 7, 3).append(rows(0, 2), walked=2)
    (tmp_path / "finished.json").write_text(mark)
    table = UnfinishedTable(tmp_path, 7, 3)
    assert table.finished.rows == 0
    finish(table)
    np.testing.assert_array_equal(table.open().weights, WEIGHTS)


@pytest.mark.parametrize("has_links", [True, False])
def test_what_is_handed_over_stays(
    tmp_path: Path, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    if not has_links:
        monkeypatch.setattr("os.link", refuse)
    table = UnfinishedTable(tmp_path, 7, 3)
    finish(table)
    out = tmp_path / "out"
    out.mkdir()
    table.hand_over(out)
    assert UnfinishedTable(tmp_path, 7, 3).is_finished
    for name in ("neighbors.npy", "weights.npy"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
        assert (out / name).samefile(tmp_path / name) == has_links
