"""A FAISS search as it was tuned, and wider where only some of the items may be found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.retrieval.load_faiss import load_faiss

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_CARE = 2  # the best of the allowed lie further apart than the best of all it was tuned for


@dataclass(frozen=True)
class Narrowed:
    """Parameters of a search; `kept` is what they point to and do not own."""

    index: Any
    settings: dict[str, float]
    parameters: Any = None
    kept: tuple[Any, ...] = field(default=())

    def search(self, queries: Matrix, k: int) -> tuple[Matrix, Rows]:
        """Scores and rows as FAISS gives them: −1 where none was found."""
        scores, rows = self.index.search(queries, k, params=self.parameters)
        return scores, rows


def narrowed(index: Any, kind: str, allowed: Rows | None = None) -> Narrowed:
    """The search of an index among distinct `allowed` rows.

    Of the lists or links that a search reads, a share as large as that of the allowed leads to
    them: so many times more are read, and twice that for care.
    """
    faiss = load_faiss()
    settings = _settings(index, kind)
    if allowed is None:
        return Narrowed(index, settings)
    share = len(allowed) / index.ntotal
    bits = np.zeros(-(-index.ntotal // 8), dtype=np.uint8)
    np.bitwise_or.at(bits, allowed >> 3, (1 << (allowed & 7)).astype(np.uint8))
    selector = faiss.IDSelectorBitmap(bits)
    if kind == "hnsw":
        wide = int(_CARE * settings["hnsw_search"] / share)
        parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=wide)
        return Narrowed(index, settings, parameters, (bits, selector))
    if kind == "binary":  # FAISS has no filter there: enough candidates that the allowed suffice
        return Narrowed(_Overfetched(index, bits, _CARE * settings["candidates"] / share), settings)
    lists = faiss.extract_index_ivf(index.base_index)
    probes = min(int(np.ceil(_CARE * settings["lists_read"] / share)), lists.nlist)
    inner = faiss.SearchParametersIVF(sel=selector, nprobe=probes)
    turned = faiss.SearchParametersPreTransform(index_params=inner)
    parameters = faiss.IndexRefineSearchParameters(
        k_factor=_CARE * settings["candidates"], base_index_params=turned
    )
    return Narrowed(index, settings, parameters, (bits, selector, inner, turned))


def _settings(index: Any, kind: str) -> dict[str, float]:
    if kind == "exact":
        return {}
    if kind == "hnsw":
        return {"hnsw_search": int(index.hnsw.efSearch)}
    if kind == "binary":
        return {"candidates": float(index.k_factor)}
    lists = load_faiss().extract_index_ivf(index.base_index)
    return {
        "lists": int(lists.nlist), "lists_read": int(lists.nprobe),
        "candidates": float(index.k_factor),
    }  # fmt: skip


class _Overfetched:
    def __init__(self, index: Any, bits: npt.NDArray[np.uint8], factor: float) -> None:
        self.index, self.bits, self.factor = index, bits, factor

    def search(self, queries: Matrix, k: int, params: Any) -> tuple[Matrix, Rows]:
        most = min(int(np.ceil(k * self.factor)), int(self.index.ntotal))
        faiss = load_faiss()
        only = faiss.IndexRefineSearchParameters(k_factor=1.0)
        scores, rows = self.index.search(queries, most, params=only)
        allowed = (rows >= 0) & ((self.bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 > 0)
        order = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
        kept = np.take_along_axis(allowed, order, axis=1)
        scores, rows = (np.take_along_axis(each, order, axis=1) for each in (scores, rows))
        return scores, np.where(kept, rows, -1)
