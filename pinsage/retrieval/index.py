"""The nearest-neighbour index (PinSage §3.5): FAISS, by inner product, as training scores.

The recall against exact search is measured when the index is built and kept with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.config import IndexConfig
from pinsage.errors import ArtifactError, MissingExtraError
from pinsage.store import Facts

FILE = "index.faiss"
_RECALL_AT = 100
_RECALL_QUERIES = 1000
_HNSW_CONSTRUCTION = 200

Matrix = npt.NDArray[np.float32]


def write_index(embeddings: Path, settings: IndexConfig, seed: int, out: Path) -> Facts:
    """Index a `.npy` matrix, float32 [N, d], and measure recall@100 on 1,000 of its rows."""
    matrix = np.ascontiguousarray(np.load(embeddings))
    kind = choose_kind(settings, len(matrix))
    index = build_index(matrix, kind, settings)
    _faiss().write_index(index, str(out / FILE))
    return {
        "kind": kind,
        "num_items": len(matrix),
        "dimension": int(matrix.shape[1]),
        f"recall_{_RECALL_AT}": 1.0 if kind == "exact" else _recall(index, matrix, seed),
    }


def choose_kind(settings: IndexConfig, num_items: int) -> str:
    """`exact` or `hnsw`."""
    if settings.kind != "auto":
        return settings.kind
    return "exact" if num_items <= settings.exact_up_to else "hnsw"


def build_index(matrix: Matrix, kind: str, settings: IndexConfig) -> Any:
    """A FAISS index of the rows of a matrix.

    The links of an HNSW graph depend on how threads interleave; an exact index on nothing.
    """
    faiss = _faiss()
    dimension = matrix.shape[1]
    if kind == "exact":
        index = faiss.IndexFlatIP(dimension)
    else:
        index = faiss.IndexHNSWFlat(dimension, settings.hnsw_links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _HNSW_CONSTRUCTION
        index.hnsw.efSearch = settings.hnsw_search
    index.add(matrix)
    return index


def open_index(path: Path) -> Any:
    """Read an index, memory-mapped where its kind allows. Raises ArtifactError."""
    faiss = _faiss()
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: not a readable index ({error}); publish again") from None


def _recall(index: Any, matrix: Matrix, seed: int) -> float:
    rng = np.random.Generator(np.random.Philox(seed))
    queries = matrix[rng.permutation(len(matrix))[:_RECALL_QUERIES]]
    k = min(_RECALL_AT, len(matrix))
    exact = _faiss().IndexFlatIP(matrix.shape[1])
    exact.add(matrix)
    _, expected = exact.search(queries, k)
    _, found = index.search(queries, k)
    shared = [len(np.intersect1d(a, b)) for a, b in zip(expected, found, strict=True)]
    return float(np.mean(shared)) / k


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise MissingExtraError(
            "the nearest-neighbour index needs FAISS, which is not installed; "
            "pip install 'pinsage-pipeline[index]'"
        ) from None
    return faiss
