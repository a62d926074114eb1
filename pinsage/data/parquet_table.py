"""Parquet files as a stream of batches, one file after the other, each checked on its own.

Folders may be partitioned the Hive way: `day=2024-01-01/part.parquet` has a text column `day`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.data.tables import BATCH_ROWS, require_columns
from pinsage.errors import SourceError

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class ParquetTable:
    """The rows of one or more Parquet files below `base`."""

    files: tuple[Path, ...]
    base: Path
    typed: bool = True

    @property
    def where(self) -> str:
        """The file or folder."""
        return str(self.files[0] if len(self.files) == 1 else self.base)

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns of every file. Raises SourceError naming the file."""
        for file in self.files:
            try:
                yield from self._file_batches(file, columns)
            except (pa.ArrowException, OSError) as error:
                reason = str(error).strip().split("\n")[0]
                raise SourceError(
                    f"{file}: cannot be read as Parquet ({reason}); it may be truncated or of "
                    f"another format: fetch or write it again, or set `format`"
                ) from None

    def _file_batches(self, file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        # Two ways out of holding the whole file: buffers are freed only at its end with
        # pre_buffer, and a dataset's scanner runs ahead of a slower consumer without bound.
        with pq.ParquetFile(file, pre_buffer=False) as source:
            stored = source.schema_arrow.names
            folders = {n: v for n, v in self.partition(file).items() if n not in stored}
            require_columns(str(file), columns, [*stored, *folders])
            wanted = [name for name in columns if name not in folders]
            for batch in source.iter_batches(batch_size=BATCH_ROWS, columns=wanted):
                arrays = [
                    pa.array([folders[name]] * batch.num_rows, pa.string())
                    if name in folders
                    else batch.column(name)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def partition(self, file: Path) -> dict[str, str | None]:
        """The columns that the folders between `base` and the file stand for."""
        pairs = [part.split("=", 1) for part in file.relative_to(self.base).parts[:-1]]
        values = {pair[0]: unquote(pair[1]) for pair in pairs if len(pair) == 2}
        return {name: None if text == _HIVE_NULL else text for name, text in values.items()}
