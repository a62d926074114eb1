"""The nearest-neighbour index (PinSage §3.5): one protocol over FAISS, inner product throughout.

Every kind is one FAISS file that has the vectors in full beside what it searches by, so whatever it
finds is scored as training scored it, and a narrow choice of allowed items is searched exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt

from pinsage.config import IndexConfig
from pinsage.errors import ArtifactError, ConfigError
from pinsage.model.query import QueryMap, read_query_map
from pinsage.retrieval.build import build_index, choose_kind
from pinsage.retrieval.exact import ExactSearch
from pinsage.retrieval.kinds import kind_of, stored_vectors
from pinsage.retrieval.load_faiss import load_faiss, with_threads
from pinsage.retrieval.narrowed import narrowed
from pinsage.retrieval.recall import RECALL_AT, Trial, draw_queries
from pinsage.store import Facts

FILE = "index.faiss"
# Below this share of allowed items they are searched exactly: lists and links lead past them.
_NARROW = 0.25
_SAME = QueryMap()

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class ItemIndex(Protocol):
    """Searches the items of a catalog by inner product."""

    @property
    def kind(self) -> str:
        """`exact`, `hnsw`, `ivfpq` or `binary`."""
        ...

    @property
    def num_items(self) -> int:
        """Items in it; their rows are 0 to `num_items` − 1."""
        ...

    def search(
        self, queries: Matrix, k: int, *, allowed: Rows | None = None
    ) -> tuple[Matrix, Rows]:
        """Scores float32 [Q, k], best first, and rows int64 [Q, k] for queries float32 [Q, d].

        Where fewer than `k` are found, −inf and −1 fill up. Only rows in `allowed` are found, in
        whatever order and however often they are given. Raises ConfigError for queries of another
        width, `k` below 1 and allowed rows that are not there.
        """
        ...


class FaissIndex:
    """An `ItemIndex` over an open FAISS index; `threads` is how many cores a search takes."""

    def __init__(self, index: Any, threads: int = 1) -> None:
        self._index = index
        self._threads = threads
        self.kind = kind_of(index)
        self.num_items = int(index.ntotal)
        self._exact = ExactSearch(stored_vectors(index))

    @property
    def vectors(self) -> Matrix:
        """The items' vectors, float32 [N, d], as the file has them; not to be written to."""
        return self._exact.vectors

    @property
    def settings(self) -> dict[str, float]:
        """What searching was tuned to, by name."""
        return narrowed(self._index, self.kind).settings

    def search(
        self, queries: Matrix, k: int, *, allowed: Rows | None = None
    ) -> tuple[Matrix, Rows]:
        """See `ItemIndex`."""
        queries = self._checked(queries, k)
        rows = None if allowed is None else self._distinct(allowed)
        few = rows is not None and len(rows) < max(_NARROW * self.num_items, k)
        if self.kind == "exact" or few or k >= self.num_items:
            return self._exact.search(queries, k, allowed=rows, threads=self._threads)
        # What it was tuned for: fewer would have fewer candidates, and a lower recall.
        wanted = min(max(k, RECALL_AT), self.num_items)
        with with_threads(self._threads):
            scores, found = narrowed(self._index, self.kind, rows).search(queries, wanted)
        scores, found = scores[:, :k], found[:, :k]
        # Lists or links that lead to fewer than there are: a handful of queries, if any.
        short = np.flatnonzero((found < 0).any(axis=1))
        if len(short):
            scores[short], found[short] = self._exact.search(
                queries[short], k, allowed=rows, threads=self._threads
            )
        return scores, found

    def _checked(self, queries: Matrix, k: int) -> Matrix:
        width = self._exact.vectors.shape[1]
        if queries.ndim != 2 or queries.shape[1] != width:
            raise ConfigError(f"queries: expected [Q, {width}] (got {list(queries.shape)})")
        if k < 1:
            raise ConfigError(f"k: expected at least 1 (got {k})")
        return np.ascontiguousarray(queries, dtype=np.float32)

    def _distinct(self, allowed: Rows) -> Rows:
        rows = np.unique(np.asarray(allowed, dtype=np.int64))
        if len(rows) and not (rows[0] >= 0 and rows[-1] < self.num_items):
            wrong = rows[0] if rows[0] < 0 else rows[-1]
            raise ConfigError(f"allowed: no row {wrong}; rows are 0 to {self.num_items - 1:,}")
        return rows


def write_index(
    embeddings: Path,
    settings: IndexConfig,
    seed: int,
    out: Path,
    model: Path | None = None,
    *,
    threads: int | None = None,
) -> Facts:
    """Index a `.npy` matrix, float32 [N, d], and measure recall@100 with queries as they search.

    `model` is a saved model's folder: where it has a query map, mapped items are the queries. The
    settings of a search are tuned with 1,000 items, and the recall is measured with 1,000 others.
    It takes `threads` cores, None for as many as Numba would; they change no byte of the file.
    """
    threads = threads or numba.get_num_threads()
    matrix = np.ascontiguousarray(np.load(embeddings))
    kind = choose_kind(settings, len(matrix))
    facts: Facts = {
        "kind": kind, "num_items": len(matrix), "dimension": int(matrix.shape[1]),
        f"recall_{RECALL_AT}": 1.0,
    }  # fmt: skip
    k = min(RECALL_AT, len(matrix))
    exact = ExactSearch(matrix)
    samples = draw_queries(matrix, read_query_map(model) if model else _SAME, seed)
    trials = [
        Trial(each, exact.search(each, k, threads=threads)[1])
        for each in samples
        if kind != "exact"
    ]
    index = build_index(matrix, kind, settings, seed, trials[0] if trials else None, threads)
    faiss = load_faiss()
    faiss.write_index(index, str(out / FILE))
    if trials:
        opened = FaissIndex(index)
        facts[f"recall_{RECALL_AT}"] = trials[1].recall_of(
            lambda queries: opened.search(queries, k)[1], threads
        )
        facts["search"] = opened.settings
    return facts


def open_index(folder: Path, threads: int = 1) -> FaissIndex:
    """The index in the folder of a version or stage, memory-mapped. Raises ArtifactError.

    Vectors and codes stay in the file until a search reads them, the links of an HNSW graph too;
    lists of 4-bit codes (`ivfpq`) are read into memory, which is d/4 bytes an item.
    """
    faiss = load_faiss()
    path = folder / FILE
    try:
        return FaissIndex(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC), threads)
    except (RuntimeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: not a readable index ({first}); publish again") from None
