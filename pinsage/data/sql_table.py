"""The result of a SQL query as a stream of batches, fetched in chunks. Needs the extra `sql`.

The address may hold a password: no message of this module repeats it, or a driver's text with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from pinsage.data.arrow import Column
from pinsage.data.tables import require_columns
from pinsage.errors import MissingExtraError, SourceError

_CHUNK = 50_000


@dataclass(frozen=True)
class SqlTable:
    """The rows of `query` at the SQLAlchemy address `url`."""

    url: str = field(repr=False)
    query: str
    typed: bool = True

    @property
    def where(self) -> str:
        """The address without password and options."""
        return str(_parse(self.url).set(query={}).render_as_string(hide_password=True))

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns; types may vary between batches, as the driver gives them."""
        sqlalchemy = _sqlalchemy()
        engine = self._engine()
        try:
            with engine.connect() as connection:
                streaming = connection.execution_options(stream_results=True, max_row_buffer=_CHUNK)
                result = streaming.execute(sqlalchemy.text(self.query))
                found = list(result.keys())
                require_columns(f"the query at {self.where}", columns, found)
                chosen = [found.index(name) for name in columns]
                for rows in result.partitions(_CHUNK):
                    yield _batch(rows, chosen, columns)
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise SourceError(
                f"{self.where}: the query failed ({self._scrub(error)}); check `url` and `query`"
            ) from None
        finally:
            engine.dispose()

    def _engine(self) -> Any:
        sqlalchemy = _sqlalchemy()
        url = _parse(self.url)
        file = url.database or ""
        is_file = file not in ("", ":memory:") and not file.startswith("file:")
        if url.get_backend_name() == "sqlite" and is_file and not Path(file).is_file():
            # SQLite would create an empty database and then miss the table in it.
            raise SourceError(f"{self.where}: no such database file")
        try:
            return sqlalchemy.create_engine(url)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"{self.where}: needs the database driver {error.name}, which is not installed; "
                f"pip install it, or name another in `url`"
            ) from None
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise SourceError(f"{self.where}: {self._scrub(error)}; check `url`") from None

    def _scrub(self, error: Exception) -> str:
        url = _parse(self.url)
        secrets = [str(url.password or ""), *(str(value) for value in url.query.values())]
        text = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        for secret in secrets:
            text = text.replace(secret, "***") if secret else text
        return text


def _batch(
    rows: Sequence[Sequence[Any]], chosen: Sequence[int], columns: Sequence[str]
) -> pa.RecordBatch:
    arrays = [_array([row[position] for row in rows]) for position in chosen]
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _array(values: list[Any]) -> Column:
    """Arrow's own inference, or strings where it fails (mixed types, UUIDs, …)."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _parse(url: str) -> Any:
    sqlalchemy = _sqlalchemy()
    try:
        return sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise SourceError(
            "data source `url`: not a database address (not shown, as it may hold a password); "
            "expected dialect+driver://user:password@host/database"
        ) from None


def _sqlalchemy() -> Any:
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise MissingExtraError(
            "a SQL source needs SQLAlchemy, which is not installed; "
            "pip install 'pinsage-pipeline[sql]'"
        ) from None
    return sqlalchemy
