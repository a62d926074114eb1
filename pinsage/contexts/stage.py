"""What the stage `contexts` writes, and how it is read again.

    vectors.npy        float32 [V, d], those of one user together
    contexts.parquet   V rows: user_id, number (0 is the user's most important), importance

User ids are personal data; a version holds these files only where `contexts.publish` is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import ContextsConfig
from pinsage.contexts.histories import USERS, read_histories
from pinsage.contexts.pooling import Floats, Matrix, Pooled, pool
from pinsage.data.arrow import Column, pc
from pinsage.data.row_groups import row_groups
from pinsage.errors import ArtifactError, UnknownItemError
from pinsage.graph.npy import npy_header
from pinsage.store import Facts

VECTORS, TABLE = "vectors.npy", "contexts.parquet"


def write_contexts(ingested: Path, embeddings: Path, settings: ContextsConfig, out: Path) -> Facts:
    """Write the vectors of every user that has an item with weight, in the order of their rows.

    Memory is bounded by `memory_mib`, however many users there are. Returns num_users (that have a
    vector), num_vectors and dimension.
    """
    matrix = np.load(embeddings, mmap_mode="r")
    dimension = matrix.shape[1]
    ids = pq.read_table(ingested / USERS)["user_id"]
    schema = pa.schema({"user_id": ids.type, "number": pa.int16(), "importance": pa.float32()})
    num_users = num_vectors = 0
    with (out / VECTORS).open("wb") as file, row_groups(out / TABLE, schema) as table:
        file.write(npy_header(np.float32, (0, dimension)))
        for first, histories in read_histories(ingested, settings, dimension):
            pooled = pool(histories, matrix, settings)
            file.write(np.ascontiguousarray(pooled.vectors).data)
            table.add(_rows(ids, first, pooled, schema))
            num_users += int((pooled.number == 0).sum())
            num_vectors += len(pooled.vectors)
        file.seek(0)  # its length is the same for any number of rows
        file.write(npy_header(np.float32, (num_vectors, dimension)))
    return {"num_users": num_users, "num_vectors": num_vectors, "dimension": dimension}


@dataclass(frozen=True)
class ContextVectors:
    """Written vectors of users, memory-mapped."""

    folder: Path
    vectors: Matrix

    @classmethod
    def open(cls, folder: Path) -> ContextVectors:
        """Raises ArtifactError where they cannot be read."""
        try:
            return cls(folder, np.load(folder / VECTORS, mmap_mode="r"))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder / VECTORS}: cannot be read ({error})") from None

    def of(self, user_id: str) -> tuple[Matrix, Floats]:
        """The vectors of a user, float32 [V, d], and their importance, float32 [V].

        Ids of any type are given as text. Raises UnknownItemError where the user has none.
        """
        rows = [found for found in self._find(user_id) if len(found)]
        if not rows:
            raise UnknownItemError(
                f"user {user_id!r}: has no vector in {self.folder}; expected a user of the "
                f"interactions that these were made of"
            )
        at = np.concatenate(rows)
        table = pq.read_table(self.folder / TABLE, columns=["importance"])
        return np.asarray(self.vectors[at]), table["importance"].to_numpy()[at]

    def _find(self, user_id: str) -> Iterator[npt.NDArray[np.int64]]:
        start = 0
        with pq.ParquetFile(self.folder / TABLE) as table:
            for batch in table.iter_batches(columns=["user_id"]):
                same: Any = pc.equal(batch.column("user_id").cast(pa.string()), user_id)
                yield np.flatnonzero(same.to_numpy(zero_copy_only=False)) + start
                start += batch.num_rows


def _rows(ids: Column, first: int, pooled: Pooled, schema: pa.Schema) -> pa.Table:
    users = pc.take(ids, pa.array(pooled.context + first))
    number = pa.array(pooled.number.astype(np.int16))
    return pa.table([users, number, pa.array(pooled.importance)], schema=schema)
