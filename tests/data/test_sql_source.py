"""SQL sources on a real SQLite file; the password appears nowhere."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pinsage.config import Source
from pinsage.data.sources import find, open_table
from pinsage.errors import ConfigError, MissingExtraError, PinSageError, SourceError

pytest.importorskip("sqlalchemy")
CANARY = "hunter2-canary"


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A table `t` of (a, b), where SQLite keeps mixed types in one column."""
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (a INTEGER, b)")
        values: list[tuple[Any, ...]] = [(1, "x"), (2, 7), (3, None)]
        connection.executemany("INSERT INTO t VALUES (?, ?)", values)
        connection.commit()
    return f"sqlite:///{file}"


def read(url: str, query: str, *columns: str) -> list[dict[str, Any]]:
    table = open_table(Source(url=url, query=query))
    return [row for batch in table.batches(columns) for row in batch.to_pylist()]


def test_a_query_is_read_and_mixed_types_become_text(database: str) -> None:
    expected = [{"b": "x", "a": 1}, {"b": "7", "a": 2}, {"b": None, "a": 3}]
    assert read(database, "SELECT * FROM t ORDER BY a", "b", "a") == expected


def test_a_long_result_comes_in_several_batches(database: str) -> None:
    query = (
        "WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 120000) "
        "SELECT v FROM n"
    )
    sizes = [b.num_rows for b in open_table(Source(url=database, query=query)).batches(["v"])]
    assert sum(sizes) == 120_000
    assert len(sizes) > 1


def test_a_database_is_always_read_again(database: str) -> None:
    source = Source(url=database, query="SELECT 1")
    assert find(source).digest != find(source).digest


def test_a_missing_column_lists_those_of_the_query(database: str) -> None:
    with pytest.raises(SourceError, match=r"the query at sqlite.*no column 'c'.*'a', 'b'"):
        read(database, "SELECT * FROM t", "c")


def test_a_wrong_query_says_what_the_database_said(database: str) -> None:
    with pytest.raises(SourceError, match=r"the query failed.*no such table: missing"):
        read(database, "SELECT * FROM missing", "a")


def test_a_missing_database_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such database file"):
        read(f"sqlite:///{tmp_path}/no.db", "SELECT 1 AS a", "a")
    assert not (tmp_path / "no.db").exists()


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+pg8000://me:{CANARY}@127.0.0.1:1/x",
        f"mysql+nosuchdriver://me:{CANARY}@127.0.0.1/x",
        f"sqlite://me:{CANARY}@127.0.0.1/x?password={CANARY}",
        f"not an address {CANARY}",
    ],
)
def test_no_message_repeats_the_password(url: str) -> None:
    with pytest.raises(PinSageError) as caught:
        read(url, "SELECT 1 AS a", "a")
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert CANARY not in repr(open_table(Source(url=url, query="SELECT 1")))


def test_a_missing_driver_is_named() -> None:
    with pytest.raises(MissingExtraError, match="database driver pg8000"):
        read("postgresql+pg8000://me@127.0.0.1/x", "SELECT 1 AS a", "a")


def test_the_password_comes_from_the_environment(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINSAGE_TEST_DB", database)
    assert read("$PINSAGE_TEST_DB", "SELECT a FROM t WHERE a = 1", "a") == [{"a": 1}]
    with pytest.raises(ConfigError, match="PINSAGE_NO_DB"):
        read("$PINSAGE_NO_DB", "SELECT 1", "a")
