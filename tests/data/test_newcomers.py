"""Tables of new items: the same cells from every format, and errors that name what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.data.newcomers import NewItems, land_new_items, read_new_items
from pinsage.errors import SourceError

KINDS: dict[str, Any] = {
    "title": "text",
    "year": "numerical",
    "code": "categorical",
    "tags": "multicategorical",
    "seen": "timestamp",
    "vector": "embedding",
}
ROWS: list[dict[str, Any]] = [
    {
        "item_id": "n1", "title": "First", "year": 1999, "code": "007", "tags": "a|b",
        "seen": "2024-05-01", "vector": [0.5, 1.0], "user_ids": ["u1", "u2", "u1"],
    },
    {"item_id": "n2", "title": "", "tags": "b", "user_ids": []},
]  # fmt: skip


def parquet(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "new.parquet")
    return folder / "new.parquet"


def csv(folder: Path, name: str = "new.csv", mark: str = ",") -> Path:
    lines = [
        ["item_id", "title", "year", "code", "tags", "seen", "vector", "user_ids"],
        ["n1", "First", "1999", "007", "a|b", "2024-05-01", "0.5 1.0", "u1|u2| u1"],
        ["n2", "", "", "", "b", "", "", ""],
    ]
    (folder / name).write_text("\n".join(mark.join(line) for line in lines) + "\n")
    return folder / name


def tsv(folder: Path) -> Path:
    return csv(folder, "new.tsv", "\t")


def json_lines(folder: Path) -> Path:
    (folder / "new.jsonl").write_text("\n\n".join(map(json.dumps, ROWS)) + "\n")
    return folder / "new.jsonl"


def landed(**columns: Any) -> NewItems:
    table = pa.table({"item_id": ["n1"], **columns})
    return land_new_items(table, KINDS, separator="|", where="new.csv")


@pytest.mark.parametrize("write", [parquet, csv, tsv, json_lines])
def test_every_format_gives_the_same_cells(tmp_path: Path, write: Any) -> None:
    new = read_new_items(write(tmp_path), KINDS)
    assert new.users == (("u1", "u2"), ())
    assert (new.absent, new.ignored) == ((), ())
    first, second = (row for _, row in new.items.iterrows())
    assert first[["item_id", "title", "year", "code", "tags"]].tolist() == [
        "n1", "First", 1999.0, "007", "a|b",
    ]  # fmt: skip
    assert first["seen"] == pd.Timestamp("2024-05-01", tz="UTC")
    np.testing.assert_array_equal(first["vector"], np.array([0.5, 1.0], np.float32))
    # As in a snapshot, an item without a title has its id for one.
    assert second["title"] == "n2"
    assert second[["year", "code", "seen", "vector"]].isna().all()


def test_ids_of_a_csv_are_integers_where_all_of_them_are(tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("item_id,user_ids\n7,1|2\n8,\n")
    assert read_new_items(file, {}).items["item_id"].tolist() == [7, 8]
    file.write_text("item_id\n7\n08\n")
    assert read_new_items(file, {}).items["item_id"].tolist() == ["7", "08"]


def test_columns_that_are_absent_or_mean_nothing_are_told() -> None:
    new = landed(yeer=[1999], tags=[["a", "b"]])
    assert new.absent == ("title", "year", "code", "seen", "vector")
    assert new.ignored == ("yeer",)
    assert new.items["tags"].iloc[0].tolist() == ["a", "b"]
    assert list(new.items) == ["item_id", "title", "year", "code", "tags", "seen", "vector"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["7| 8|"], ("7", "8")),
        ([[7, 8, 7]], ("7", "8")),
        ([[7.0, None, float("nan")]], ("7",)),
        ([7], ("7",)),
        ([None], ()),
    ],
)
def test_users_are_a_list_or_text_of_ids(cells: list[Any], expected: tuple[str, ...]) -> None:
    assert landed(user_ids=cells).users == (expected,)


@pytest.mark.parametrize("cells", [[[0.5]], [[True]], [{"id": 7}]])
def test_users_that_are_no_ids_are_refused(cells: list[Any]) -> None:
    with pytest.raises(SourceError, match=r"new.csv: column 'user_ids': holds .* list of ids"):
        landed(user_ids=cells)


def test_a_column_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(SourceError, match=r"new.csv: column 'year'.*numbers are expected"):
        landed(year=[[1999]])
    with pytest.raises(SourceError, match=r"new.csv: column 'code'.*integers or text"):
        landed(code=[0.5])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("new.csv", "title\nx\n", r"new.csv: has no column 'item_id' \(it has 'title'\)"),
        ("new.csv", "itemid\nx\n", "did you mean 'itemid'"),
        ("new.csv", "item_id,title\n", "holds no row"),
        ("new.csv", "item_id,title\nn1,a\n,b\n", r"empty in 1 of 2 rows \(first in row 2\)"),
        ("new.csv", "item_id\nn1\nn2\nn1\n", "holds 'n1' 2 times"),
        ("new.csv", "item_id,a,a\nn1,2,3\n", "2 columns called 'a'"),
        ("new.txt", "", "its ending tells no format; expected one of .parquet"),
        ("new.parquet", "PAR1", "cannot be read as Parquet"),
        ("new.jsonl", '{"item_id": 1}\n{"item_id"', "line 2: is no JSON"),
        ("new.jsonl", "[1]", "line 1: holds list; expected one object a line"),
        ("new.jsonl", '{"item_id": 1}\n{"item_id": "a"}', "column 'item_id': holds values of diff"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        read_new_items(tmp_path / name, KINDS)


def test_what_is_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        read_new_items(tmp_path / "new.csv", KINDS)
    with pytest.raises(SourceError, match="is a folder"):
        read_new_items(tmp_path, KINDS)
    (tmp_path / "new.jsonl").write_bytes(b'{"item_id": "\xff"}')
    with pytest.raises(SourceError, match="UTF-8"):
        read_new_items(tmp_path / "new.jsonl", KINDS)
    table = pa.table([pa.array(["n1"])] * 3, names=["item_id", "a", "a"])
    pq.write_table(table, tmp_path / "new.parquet")
    with pytest.raises(SourceError, match="2 columns called 'a'"):
        read_new_items(tmp_path / "new.parquet", KINDS)
