"""Indexes of FAISS and usearch that answer with the catalog's ids, or with rows of a file of ids.

Both know whole numbers alone: int64 in FAISS, uint64 in usearch. Other ids are in `ids.parquet`,
whose row is the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.errors import MissingExtraError
from pinsage.retrieval.index import FILE
from pinsage.retrieval.load_faiss import load_faiss
from pinsage.retrieval.published import Published

FAISS_FILE = "items.faiss"
USEARCH_FILE = "items.usearch"
IDS = "ids.parquet"


def write_faiss(version: Published, folder: Path) -> dict[str, Any]:
    """The version's own index, tuned as it is, as an `IndexIDMap2`."""
    faiss = load_faiss()
    keys, about = _keys(version.items, folder, signed=True)
    inner = faiss.read_index(str(version.path / FILE))
    # Its constructor takes an empty index alone: it is given its parts one by one.
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(inner.d))
    index.index, index.ntotal, index.own_fields = inner, inner.ntotal, False
    faiss.copy_array_to_vector(keys, index.id_map)
    index.construct_rev_map()
    faiss.write_index(index, str(folder / FAISS_FILE))
    return about


def write_usearch(version: Published, folder: Path) -> dict[str, Any]:
    """An HNSW graph, whose distance is 1 − inner product; built by one thread, always the same."""
    try:
        from usearch.index import Index
    except ImportError:
        raise MissingExtraError(
            "this export needs usearch, which is not installed; "
            "pip install 'pinsage-pipeline[export]'"
        ) from None
    keys, about = _keys(version.items, folder, signed=False)
    index = Index(ndim=int(version.vectors.shape[1]), metric="ip", dtype="f32")
    index.add(keys.astype(np.uint64), np.ascontiguousarray(version.vectors), threads=1)
    index.save(str(folder / USEARCH_FILE))
    return about | {"distance": "1 - inner product"}


def _keys(
    items: pd.DataFrame, folder: Path, *, signed: bool
) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    ids = items["item_id"]
    if pd.api.types.is_integer_dtype(ids) and (signed or ids.min() >= 0):
        return ids.to_numpy(dtype=np.int64), {"keys": "item_id"}
    table = pa.Table.from_pandas(items[["item_id", "title"]], preserve_index=False)
    pq.write_table(table, folder / IDS)
    return np.arange(len(ids), dtype=np.int64), {"keys": f"rows of {IDS}"}
