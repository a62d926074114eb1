"""What kind of index a FAISS file holds, and where in it the vectors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.retrieval.load_faiss import load_faiss

Matrix = npt.NDArray[np.float32]


def kind_of(index: Any) -> str:
    """`exact`, `hnsw`, `ivfpq` or `binary`. Raises ValueError for any other."""
    faiss = load_faiss()
    if isinstance(index, faiss.IndexRefineFlat | faiss.IndexRefine):
        base = faiss.downcast_index(index.base_index)
        if isinstance(base, faiss.IndexPreTransform):
            base = faiss.downcast_index(base.index)
        if isinstance(base, faiss.IndexIVFPQFastScan):
            return "ivfpq"
        if isinstance(base, faiss.IndexLSH):
            return "binary"
    elif isinstance(index, faiss.IndexHNSWFlat):
        return "hnsw"
    elif isinstance(index, faiss.IndexFlat):
        return "exact"
    raise ValueError(f"a {type(index).__name__}, which is none of the kinds of this project")


def stored_vectors(index: Any) -> Matrix:
    """The vectors float32 [N, d], where they lie: valid as long as the index is."""
    faiss = load_faiss()
    kind = kind_of(index)
    holders = {"exact": lambda: index, "hnsw": lambda: index.storage}
    flat = faiss.downcast_index(holders.get(kind, lambda: index.refine_index)())
    size = int(flat.ntotal) * int(flat.d)
    if size == 0 or flat.codes.size() != 4 * size:
        raise ValueError(f"{flat.codes.size():,} bytes of vectors for {flat.ntotal:,} × {flat.d}")
    values = faiss.rev_swig_ptr(flat.get_xb(), size)
    vectors: Matrix = np.asarray(values, dtype=np.float32).reshape(int(flat.ntotal), int(flat.d))
    return vectors
