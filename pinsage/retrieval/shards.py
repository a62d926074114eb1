"""A version's vectors for whoever reads Parquet: original ids, titles, the version, the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

_ROWS_A_SHARD = 1_000_000
_ONE_VALUE_OFTEN = ["version"]


def write_shards(items: pa.Table, matrix: npt.NDArray[np.float32], version: str, out: Path) -> None:
    """Write item_id, title, version and vector, float32 [N, d], in the order of the catalog."""
    out.mkdir()
    for shard, start in enumerate(range(0, len(matrix), _ROWS_A_SHARD)):
        block = matrix[start : start + _ROWS_A_SHARD]
        table = (
            items.slice(start, len(block))
            .append_column("version", pa.repeat(version, len(block)))
            .append_column("vector", vector_column(block))
        )
        # Nothing repeats in vectors, nor in ids: a dictionary of them is work for nothing.
        file = out / f"part-{shard:05d}.parquet"
        pq.write_table(table, file, use_dictionary=_ONE_VALUE_OFTEN)  # type: ignore[arg-type]  # or names


def vector_column(matrix: npt.NDArray[np.float32]) -> pa.Array[Any]:
    """Vectors float32 [N, d] as N lists of d numbers."""
    flat = np.ascontiguousarray(matrix).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), matrix.shape[1])


def shard_schema(folder: Path) -> list[dict[str, Any]]:
    """Name and type of each column of a folder's shards, for its manifest."""
    first = min(folder.iterdir())
    return [{"name": each.name, "type": str(each.type)} for each in pq.read_schema(first)]
