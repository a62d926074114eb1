"""What the contract looks at in the embeddings: one frame of rows, one row of facts.

The matrix is memory-mapped and read in blocks, so its size is no limit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from data_contracts.tables import Table
from pinsage.errors import ArtifactError

Matrix = npt.NDArray[np.floating]

NUM_PAIRS = 2_000
_BLOCK = 65_536


def read_embeddings(path: Path, items: Path, seed: int) -> tuple[Table, Table]:
    """The frame of the rows, and of the whole of the matrix [N, d] at `path`.

    Rows: `item_row`, `item_id` and `title` (where `items` has as many rows), `not finite` (count)
    and `norm`. Whole: `rows`, `dimension`, `mean cosine` of 2,000 random pairs, and `spread`, the
    mean standard deviation of a dimension times sqrt(d) over the root mean square length: 1 for an
    isotropic cloud of any scale, 0 for a point. Both leave out rows that are not finite.
    Raises ArtifactError where the file is not a matrix.
    """
    try:
        matrix: Matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a matrix ({error}); embed again") from None
    if matrix.ndim != 2:
        raise ArtifactError(f"{path}: {matrix.ndim} axes where [items, dimension] was expected")
    bad, norm, spread = _scan(matrix)
    frame = pd.DataFrame({"item_row": np.arange(len(matrix))})
    names = pq.read_table(items, columns=["item_id", "title"])
    if len(names) == len(frame):
        frame = frame.join(names.to_pandas())
    frame["not finite"], frame["norm"] = bad, norm
    whole = {
        "rows": len(matrix),
        "dimension": matrix.shape[1],
        "mean cosine": _mean_cosine(matrix, np.flatnonzero((bad == 0) & (norm > 0)), seed),
        "spread": spread,
    }
    identity = tuple(name for name in ("item_row", "item_id", "title") if name in frame)
    return (
        Table("embeddings", frame, identity),
        Table("embeddings", pd.DataFrame([whole]), facts=True),
    )


def _scan(
    matrix: Matrix,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], float]:
    """Values that are not finite and length of each row, and the spread of the finite rows."""
    num_rows, width = matrix.shape
    bad, norm = np.zeros(num_rows, np.int64), np.full(num_rows, np.nan)
    total, squares, used = np.zeros(width), np.zeros(width), 0
    for start in range(0, num_rows, _BLOCK):
        block = np.asarray(matrix[start : start + _BLOCK], dtype=np.float64)
        bad[start : start + len(block)] = (~np.isfinite(block)).sum(axis=1)
        kept = np.isfinite(block).all(axis=1)
        sound = block[kept]
        norm[start : start + len(block)][kept] = np.linalg.norm(sound, axis=1)
        total += sound.sum(axis=0)
        squares += np.square(sound).sum(axis=0)
        used += len(sound)
    if not used or not squares.any():
        return bad, norm, 0.0
    variance = np.maximum(squares / used - np.square(total / used), 0.0)
    return bad, norm, float(np.sqrt(variance).mean() * np.sqrt(width / (squares.sum() / used)))


def _mean_cosine(matrix: Matrix, sound: npt.NDArray[np.int64], seed: int) -> float:
    """Mean cosine of random pairs of different rows; 1 where there are no two rows to compare."""
    if len(sound) < 2:
        return 1.0
    rng = np.random.default_rng(seed)
    first = rng.integers(len(sound), size=NUM_PAIRS)
    second = (first + rng.integers(1, len(sound), size=NUM_PAIRS)) % len(sound)
    left = np.asarray(matrix[sound[first]], dtype=np.float64)
    right = np.asarray(matrix[sound[second]], dtype=np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return float(((left * right).sum(axis=1) / lengths).mean())
