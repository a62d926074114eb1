"""DuckDB, for what may not fit into memory: distinct ids, joins and the sort, with a limit.

What is over the limit goes to a folder beside the result. Nothing is fetched from anywhere, and
the order of rows is only ever what a query asks for, so threads change no result.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pinsage.errors import ArtifactError, ConfigError

_THREAD_MIB = 128  # what a thread of a sort or a join needs at least
_BATCH = 1 << 17


class Engine:
    """A DuckDB connection that takes SQL, and gives Arrow."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, sql: str) -> None:
        """Execute statements that give nothing back."""
        self._connection.execute(sql)

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query."""
        row: tuple[Any, ...] = self._connection.execute(sql).fetchone()
        return row

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """A small result."""
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """A result of any size, in the order that the query asks for."""
        yield from self._connection.sql(sql).to_arrow_reader(_BATCH)

    def column(self, sql: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The only column of a query, without nulls."""
        parts = [batch.column(0).to_numpy(zero_copy_only=False) for batch in self.batches(sql)]
        return np.concatenate([np.empty(0, dtype), *parts]).astype(dtype, copy=False)

    def table(self, name: str, rows: pa.Table | pa.RecordBatchReader) -> None:
        """Copy Arrow rows, which are read once, into a table that the limit counts."""
        self._connection.register("incoming", rows)
        self._connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM incoming")
        self._connection.unregister("incoming")


@contextmanager
def open_engine(folder: Path, memory_mib: int) -> Iterator[Engine]:
    """A fresh engine that spills below `folder`, and leaves nothing there.

    Raises ConfigError where `memory_mib` is too little, ArtifactError where the disk is.
    """
    import duckdb

    threads = max(1, min(len(os.sched_getaffinity(0)), memory_mib // _THREAD_MIB))
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=folder) as spill:
        settings: dict[str, Any] = {
            "memory_limit": f"{memory_mib}MiB",
            "temp_directory": spill,
            "threads": threads,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute("SET enable_progress_bar = false")  # it writes between our lines
            try:
                yield Engine(connection)
            except (duckdb.Error, pa.ArrowException, OSError) as error:
                if "Out of Memory" not in str(error):
                    raise
                reason = str(error).split("\n")[0]
                if "offload" in reason:
                    raise ArtifactError(
                        f"{folder}: no room for what does not fit into data.memory_mib "
                        f"({reason}); free space on this disk, or raise data.memory_mib"
                    ) from error
                raise ConfigError(
                    f"data.memory_mib: {memory_mib:,} MiB are too few to sort and number the "
                    f"interactions ({reason}); raise it"
                ) from error


def parquet(file: Path, *, numbered: bool = False) -> str:
    """A Parquet file as a table of a query; `numbered` adds its `file_row_number`."""
    literal = re.sub(r"([*?\[])", r"[\1]", str(file)).replace("'", "''")  # no pattern, but a name
    return f"read_parquet('{literal}'{', file_row_number = true' if numbered else ''})"
