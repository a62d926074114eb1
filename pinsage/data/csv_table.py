"""CSV and TSV files (also gzip) as a stream of batches of strings.

Quoting follows RFC 4180, the text is UTF-8, an empty value is null and nothing else is: an item
called "NA" or "null" survives. A malformed line is an error that names the file and the line.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.csv as pacsv

from pinsage.data.tables import require_columns
from pinsage.errors import SourceError

_BLOCK = 1 << 23  # bytes; also the longest possible line
_UNREADABLE = (OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class CsvTable:
    """The rows of one or more CSV files with the same header."""

    files: tuple[Path, ...]
    base: Path
    delimiter: str = ","
    typed: bool = False

    @property
    def where(self) -> str:
        """The file or folder."""
        return str(self.files[0] if len(self.files) == 1 else self.base)

    def partition(self, file: Path) -> dict[str, str | None]:
        """No columns: folders above a CSV file stand for none."""
        return {}

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns of every file as strings. Raises SourceError."""
        for file in self.files:
            header = self.header(file)
            require_columns(str(file), columns, header)
            try:
                yield from self._stream(file, columns, header)
            except (pa.ArrowException, *_UNREADABLE) as error:
                if "Empty CSV" in str(error):
                    continue  # a header without a line break: no rows, like a header with one
                raise self._explain(file, len(header), error) from None

    def _stream(
        self, file: Path, columns: Sequence[str], header: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        # The last column is read even if unwanted: it is where an unclosed quote swallows the rest.
        ending = header[-1] if header.count(header[-1]) == 1 else columns[-1]
        reading = list(dict.fromkeys([*columns, ending]))
        last: str | None = None
        with _bytes(file) as stream:
            reader = pacsv.open_csv(
                stream,
                read_options=pacsv.ReadOptions(block_size=_BLOCK),
                parse_options=pacsv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    include_columns=reading,
                    column_types=dict.fromkeys(reading, pa.string()),
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    last = batch.column(ending)[-1].as_py()
                    yield batch.select(list(columns))
        if last is not None and "\n" in last and not _closes_its_quote(file):
            raise pa.ArrowInvalid("a quote is opened and never closed")

    def header(self, file: Path) -> list[str]:
        """The names of the columns of one of the files. Raises SourceError."""
        try:
            with _text(file) as stream:
                rows = csv.reader(stream, delimiter=self.delimiter)
                header = next((row for row in rows if row), None)
        except (*_UNREADABLE, csv.Error) as error:
            raise SourceError(f"{file}: its header cannot be read ({error})") from None
        if header is None:
            raise SourceError(f"{file}: is empty; expected a header and at least one row")
        return header

    def _explain(self, file: Path, width: int, error: Exception) -> SourceError:
        """Find the line that `error` is about; reads the file again, which only failures pay."""
        reason = str(error).strip().split("\n")[0]
        try:
            line, reason = self._first_bad_line(file, width) or (None, reason)
        except (*_UNREADABLE, csv.Error) as cause:
            line, reason = None, str(cause)
        at = f", line {line:,}" if line else ""
        return SourceError(f"{file}{at}: {reason}; mend the file, or set `delimiter` or `format`")

    def _first_bad_line(self, file: Path, width: int) -> tuple[int, str] | None:
        start = 1
        with _text(file) as stream:
            rows = csv.reader(stream, delimiter=self.delimiter)
            try:
                for row in rows:
                    if row and len(row) != width:
                        return start, f"expected {width} columns as in the header, got {len(row)}"
                    if any("\udc80" <= mark <= "\udcff" for value in row for mark in value):
                        return start, "is not UTF-8 text"
                    last_start, start = start, rows.line_num + 1
            except csv.Error as error:
                return start, f"{error}; a quote may be opened and never closed"
        if rows.line_num > last_start:
            return last_start, "a quote is opened and never closed"
        return None


def _closes_its_quote(file: Path) -> bool:
    """Whether the last value, known to contain a line break, ends with a closing quote."""
    tail = b""
    with _bytes(file) as stream:
        while block := stream.read(_BLOCK):
            tail = (tail + block)[-4096:]
    tail = tail.rstrip(b"\r\n")
    return (len(tail) - len(tail.rstrip(b'"'))) % 2 == 1


@contextmanager
def _bytes(file: Path) -> Iterator[IO[bytes]]:
    if file.suffix == ".gz":
        with gzip.open(file, "rb") as unpacked:
            yield cast("IO[bytes]", unpacked)
    else:
        with file.open("rb") as plain:
            yield plain


@contextmanager
def _text(file: Path) -> Iterator[IO[str]]:
    """UTF-8 text; what is not becomes lone surrogates, by which a bad line is found."""
    with _bytes(file) as raw:
        yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
