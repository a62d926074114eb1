"""What lands of a source: types, nulls, counts, and what is refused."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinsage.config import DataConfig
from pinsage.data.columns import Key
from pinsage.data.snapshot import find_sources
from pinsage.errors import ConfigError, SourceError
from pinsage.store import Facts

Write = Callable[[str, str], Path]
Land = Callable[..., tuple[Path, Facts]]
CSV = "user_id,item_id,timestamp\n"


def interactions(folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(folder / "interactions.parquet").to_pydict()
    return found


def items(folder: Path) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = pq.read_table(folder / "items.parquet").to_pydict()
    return found


def types(folder: Path, table: str) -> dict[str, str]:
    schema = pq.read_schema(folder / f"{table}.parquet")
    return {field.name: str(field.type) for field in schema}


def test_csv_lands_with_the_types_of_the_format(write: Write, land: Land) -> None:
    out, facts = land({"path": str(write("t.csv", CSV + "1,x,10\n2,y,oops\n,x,11\n"))})
    assert types(out, "interactions") == {
        "user_id": "int64",
        "item_id": "string",
        "timestamp": "int64",
        "weight": "float",
    }
    assert interactions(out) == {
        "user_id": [1, 2, None],
        "item_id": ["x", "y", "x"],
        "timestamp": [10_000_000, None, 11_000_000],
        "weight": [1.0, 1.0, 1.0],
    }
    assert (facts["num_interactions"], facts["num_unreadable_timestamps"]) == (3, 1)
    assert facts["num_items"] == 0
    assert [file.name for file in out.iterdir()] == ["interactions.parquet"]


@pytest.mark.parametrize("odd", ["007", "+7", "7.0", "1e3", "-0", "9223372036854775808", " 7"])
def test_an_id_that_does_not_read_back_the_same_makes_its_column_text(
    write: Write, land: Land, odd: str
) -> None:
    out, _ = land({"path": str(write("t.csv", CSV + f"1,12,10\n2,{odd},11\n"))})
    assert interactions(out)["item_id"] == ["12", odd]
    assert interactions(out)["user_id"] == [1, 2]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.text(), st.integers().map(str), st.none())))
def test_inferred_integers_are_exactly_those_that_python_writes_the_same(
    values: list[str | None],
) -> None:
    def is_integer(text: str) -> bool:
        try:
            return str(int(text)) == text and -(2**63) <= int(text) < 2**63
        except ValueError:
            return False

    key = Key("column 'id'", infer=True)
    assert key.land(pa.array(values, pa.string())).to_pylist() == values
    present = [value for value in values if value is not None]
    assert (key.type == pa.int64()) == bool(present and all(map(is_integer, present)))


def test_the_odd_id_may_come_late_in_the_file(write: Write, land: Land) -> None:
    note = "x" * 400  # so that the file is read in several blocks
    lines = "".join(f"{n % 50},{n % 70},{n},{note}\n" for n in range(50_000))
    text = f"user_id,item_id,timestamp,note\n{lines}007,1,5,\n"
    out, facts = land({"path": str(write("t.csv", text))})
    users = pq.read_table(out / "interactions.parquet")["user_id"]
    assert users.type == pa.string()
    assert users[-1].as_py() == "007"
    assert facts["num_interactions"] == 50_001


def test_ids_of_both_tables_get_one_type(write: Write, land: Land) -> None:
    log = {"path": str(write("log.csv", CSV + "1,7,10\n"))}
    out, _ = land(log, {"path": str(write("items.csv", "item_id\n7\nabc\n"))})
    assert (interactions(out)["item_id"], items(out)["item_id"]) == (["7"], ["7", "abc"])
    out, _ = land(log, {"path": str(write("items.csv", "item_id\n7\n8\n"))})
    assert (interactions(out)["item_id"], items(out)["item_id"]) == ([7], [7, 8])


def test_declared_types_of_parquet_ids_are_kept(tmp_path: Path, land: Land) -> None:
    columns = {
        "user_id": pa.array(["1", "2"]).dictionary_encode(),
        "item_id": pa.array([1.0, None]),  # as pandas writes integers with a missing one
        "timestamp": pa.array([1, 2], pa.uint32()),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    out, _ = land({"path": str(tmp_path / "t.parquet")})
    assert interactions(out)["user_id"] == ["1", "2"]
    assert interactions(out)["item_id"] == [1, None]


@pytest.mark.parametrize("column", [[1.5], [[1]], [datetime(2020, 1, 1)]])
def test_what_cannot_be_an_id_is_refused(tmp_path: Path, land: Land, column: list[Any]) -> None:
    table = pa.table({"user_id": column, "item_id": [1], "timestamp": [1]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet: column 'user_id'.*integers or text"):
        land({"path": str(tmp_path / "t.parquet")})


def test_lighter_interactions_are_left_out_and_counted(write: Write, land: Land) -> None:
    text = "user_id,item_id,timestamp,r\n1,1,1,3\n1,2,1,3.5\n1,3,1,\n1,4,1,inf\n1,5,1,x\n"
    log = {"path": str(write("t.csv", text)), "weight_column": "r"}
    out, facts = land({**log, "min_weight": 3.5})
    assert interactions(out)["weight"] == [3.5, None, None, None]
    assert (facts["num_below_min_weight"], facts["num_unreadable_weights"]) == (1, 3)
    with pytest.raises(SourceError, match=r"all 1 interactions.*min_weight = 9"):
        land({"path": str(write("u.csv", text[:36])), "weight_column": "r", "min_weight": 9.0})


def test_each_feature_kind_lands_as_its_type(write: Write, land: Land) -> None:
    text = (
        "item_id,name,price,brand,tags,image,released\n"
        '1,Äpfel,1.5,7,a|b,"[1, 2.5]",2020-01-01\n'
        "2,,free,,,0.5 -1e1,soon\n"
        "3,Birnen,nan,x,c,broken,2020-01-01T12:00:00+02:00\n"
    )
    out, facts = land(
        {"path": str(write("log.csv", CSV + "1,1,1\n"))},
        {
            "path": str(write("items.csv", text)),
            "title_column": "name",
            "features": {
                "name": "text",
                "price": "numerical",
                "brand": "categorical",
                "tags": "multicategorical",
                "image": "embedding",
                "released": "timestamp",
            },
        },
    )
    assert facts["num_items"] == 3
    assert types(out, "items") == {
        "item_id": "int64",
        "title": "string",
        "name": "string",
        "price": "double",
        "brand": "string",
        "tags": "string",
        "image": "list<element: float>",
        "released": "timestamp[us, tz=UTC]",
    }
    landed = items(out)
    assert landed["title"] == ["Äpfel", "2", "Birnen"]  # a missing title is the id
    assert landed["name"] == ["Äpfel", None, "Birnen"]
    assert landed["price"] == [1.5, None, None]
    assert landed["brand"] == ["7", None, "x"]
    assert landed["image"] == [[1.0, 2.5], [0.5, -10.0], None]
    assert [t and t.isoformat() for t in landed["released"]] == [
        "2020-01-01T00:00:00+00:00",
        None,
        "2020-01-01T10:00:00+00:00",
    ]


def test_lists_and_vectors_of_parquet_are_kept(tmp_path: Path, write: Write, land: Land) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2)
    columns: dict[str, Any] = {
        "item_id": [1, 2],
        "tags": [["a", "b"], None],
        "image": vectors,
        "brand": [7, 8],
    }
    pq.write_table(pa.table(columns), tmp_path / "items.parquet")
    features = {"tags": "multicategorical", "image": "embedding", "brand": "categorical"}
    out, _ = land(
        {"path": str(write("log.csv", CSV + "1,1,1\n"))},
        {"path": str(tmp_path / "items.parquet"), "features": features},
    )
    landed = items(out)
    assert landed["tags"] == [["a", "b"], None]
    assert landed["image"] == [[1.0, 2.0], [3.0, 4.0]]
    assert landed["brand"] == [7, 8]
    assert landed["title"] == ["1", "2"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [("numerical", "numbers are expected"), ("embedding", "expects lists"), ("text", "is a list")],
)
def test_a_feature_of_another_kind_is_refused_by_name(
    tmp_path: Path, write: Write, land: Land, kind: str, told: str
) -> None:
    column = pa.array([datetime(2020, 1, 1)]) if kind == "embedding" else pa.array([["a"]])
    pq.write_table(pa.table({"item_id": [1], "f": column}), tmp_path / "items.parquet")
    catalog = {"path": str(tmp_path / "items.parquet"), "features": {"f": kind}}
    with pytest.raises(SourceError, match=rf"column 'f'.*{told}"):
        land({"path": str(write("log.csv", CSV + "1,1,1\n"))}, catalog)


def test_the_title_may_be_a_feature_as_well(write: Write, land: Land) -> None:
    log = {"path": str(write("log.csv", CSV + "1,1,1\n"))}
    catalog = {"path": str(write("items.csv", "item_id,title,name\n1,A,B\n"))}
    out, _ = land(log, {**catalog, "title_column": "title", "features": {"title": "text"}})
    assert items(out) == {"item_id": [1], "title": ["A"]}
    with pytest.raises(ConfigError, match="must be the title_column as well"):
        land(log, {**catalog, "title_column": "name", "features": {"title": "text"}})
    with pytest.raises(ConfigError, match="item_id is the id, not a feature"):
        land(log, {**catalog, "features": {"item_id": "categorical"}})


def test_addresses_of_images_land_as_text_where_a_column_is_named(write: Write, land: Land) -> None:
    log = {"path": str(write("log.csv", CSV + "1,1,1\n"))}
    text = "item_id,cover\n1,covers/1.jpg\n2,\n3,https://example.org/3.png\n"
    catalog = {"path": str(write("items.csv", text))}
    out, _ = land(log, {**catalog, "image_column": "cover"})
    assert items(out)["image"] == ["covers/1.jpg", None, "https://example.org/3.png"]
    assert types(out, "items")["image"] == "string"
    out, _ = land(log, catalog)
    assert set(items(out)) == {"item_id", "title"}


def test_an_image_column_may_be_a_feature_but_not_under_the_name_image(
    write: Write, land: Land
) -> None:
    log = {"path": str(write("log.csv", CSV + "1,1,1\n"))}
    catalog = {"path": str(write("items.csv", "item_id,image,cover\n1,5,a\n"))}
    both = {"image_column": "cover", "features": {"cover": "text"}}
    out, _ = land(log, {**catalog, **both})
    assert items(out) == {"item_id": [1], "title": ["1"], "image": ["a"], "cover": ["a"]}
    with pytest.raises(ConfigError, match=r"image_column = 'cover'.*rename the feature"):
        land(log, {**catalog, **both, "features": {"image": "numerical"}})


def test_sql_lands_like_files(tmp_path: Path, land: Land) -> None:
    pytest.importorskip("sqlalchemy")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("CREATE TABLE t (u, i, t TEXT)")
        rows = [(1, "007", "2020-01-01 00:00:00"), (2, 8, "2020-01-01 00:00:01")]
        connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        connection.commit()
    log = {"url": f"sqlite:///{tmp_path}/shop.db", "query": "SELECT * FROM t"}
    columns = {"user_column": "u", "item_column": "i", "timestamp_column": "t"}
    out, _ = land({**log, **columns, "timestamp_unit": "iso"})
    landed = interactions(out)
    assert (landed["user_id"], landed["item_id"]) == ([1, 2], ["007", "8"])
    assert landed["timestamp"] == [1_577_836_800_000_000, 1_577_836_801_000_000]


@pytest.mark.parametrize("text", [CSV, CSV.strip()])
def test_an_empty_table_is_refused(write: Write, land: Land, text: str) -> None:
    with pytest.raises(SourceError, match=r"t\.csv: holds no row"):
        land({"path": str(write("t.csv", text))})


def test_an_empty_parquet_table_is_refused(tmp_path: Path, land: Land) -> None:
    empty = pa.table({name: pa.array([], pa.int64()) for name in CSV.strip().split(",")})
    pq.write_table(empty, tmp_path / "t.parquet")
    with pytest.raises(SourceError, match=r"t\.parquet: holds no row"):
        land({"path": str(tmp_path / "t.parquet")})


def test_a_failed_landing_leaves_nothing_behind(write: Write, land: Land, tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        land({"path": str(write("t.csv", CSV + "1,2,3\n1,2\n"))})
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [tmp_path / "t.csv"]


def test_digests_name_both_sources_and_a_missing_one_fails_at_once(write: Write) -> None:
    tree: dict[str, Any] = {"interactions": {"path": str(write("t.csv", CSV))}}
    assert set(find_sources(DataConfig.model_validate(tree))) == {"interactions"}
    tree["items"] = {"path": "/no/such.csv"}
    with pytest.raises(SourceError, match="no such file"):
        find_sources(DataConfig.model_validate(tree))


_LAND = """
import sys
from pathlib import Path
from pinsage.config import DataConfig
from pinsage.data.snapshot import write_snapshot
from pinsage.measure import Meter
for name in sys.argv[1:]:
    data = DataConfig.model_validate({"interactions": {"path": f"{name}.parquet"}})
    Path(name).mkdir()
    with Meter() as meter:
        write_snapshot(data, Path(name))
    print(meter.peak_mib)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resets the peak by /proc")
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    for name, rows in (("small", 200_000), ("large", 3_200_000)):
        numbers = pa.array(np.arange(rows))
        table = pa.table(dict.fromkeys(CSV.strip().split(","), numbers))
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=100_000)
    command = [sys.executable, "-c", _LAND, "small", "large"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    small, large = map(float, done.stdout.split())
    assert large < small + 70  # sixteen times the rows, which are 100 MB


PARTS = st.sampled_from([None, "", "a", "a/", "/a", "\\", "\\/", "/", "b\\"])


@settings(
    deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(PARTS, PARTS), min_size=1, max_size=20))
def test_several_columns_are_one_context(
    tmp_path: Path, land: Land, rows: list[tuple[str | None, str | None]]
) -> None:
    left, right = zip(*rows, strict=True)
    table = pa.table(
        {
            "store": pa.array(left, pa.string()),
            "week": pa.array(right, pa.string()),
            "item_id": [1] * len(rows),
            "timestamp": [1] * len(rows),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    out, _ = land({"path": str(tmp_path / "t.parquet"), "user_column": ["store", "week"]})
    users = interactions(out)["user_id"]
    assert [user is None for user in users] == [not (a and b) for a, b in rows]
    named = {(pair, user) for pair, user in zip(rows, users, strict=True) if user is not None}
    assert len({user for _, user in named}) == len({pair for pair, _ in named}) == len(named)


def test_a_context_of_numbers_reads_as_they_do(write: Write, land: Land) -> None:
    file = write("t.csv", "store,week,item_id,timestamp\n367,1,5,1\n367,,5,1\n36,71,5,1\n")
    out, _ = land({"path": str(file), "user_column": ["store", "week"]})
    assert interactions(out)["user_id"] == ["367/1", None, "36/71"]
    with pytest.raises(SourceError, match="has no column 'shop'"):
        land({"path": str(file), "user_column": ["shop", "week"]})
