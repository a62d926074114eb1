"""A context's vectors from its items' vectors: their weighted mean, or the medoids of their groups.

PinSage embeds items; a user searches with what stands for them. The mean is one vector a user. It
lies between tastes that have nothing in common, so that PinnerSage (Pal et al., KDD 2020) clusters
the user's items by Ward's method and lets the medoid of each cluster search.

Shapes: B contexts, E entries (a context and one of its items), V vectors, d width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pinsage.contexts import kernels

if TYPE_CHECKING:
    from pinsage.config import ContextsConfig

DAY = 86_400 * 1_000_000  # microseconds, as timestamps are

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """What contexts took, each in the order of time; CSR over B contexts.

    Attributes:
        indptr: int64 [B + 1]
        items: int32 [E], rows of the catalog
        times: int64 [E], µs
        weights: float32 [E], of the interactions
    """

    indptr: Int64
    items: Int32
    times: Int64
    weights: Floats

    @property
    def num_contexts(self) -> int:
        """B."""
        return len(self.indptr) - 1


@dataclass(frozen=True)
class Pooled:
    """Vectors of contexts, those of one together and the most important first.

    Attributes:
        vectors: float32 [V, d]
        context: int64 [V], place of the context each is of, ascending
        number: int32 [V], place among the context's own, from 0
        importance: float32 [V], its share of the context's weight
    """

    vectors: Matrix
    context: Int64
    number: Int32
    importance: Floats


def pool(
    histories: Histories, embeddings: Matrix, settings: ContextsConfig, *, parallel: bool = True
) -> Pooled:
    """The vectors of each context, as the settings say; none where nothing of it has weight.

    `embeddings` is float32 [N, d]. One thread a context, so that nothing depends on their number;
    without `parallel` there is one, and several threads of Python may call this at a time.
    """
    weights = recency(histories, settings)
    if settings.pool == "medoids":
        return _medoids(histories, weights, embeddings, settings, parallel=parallel)
    everyone = np.arange(histories.num_contexts, dtype=np.int32)
    vectors = mean(
        everyone, histories.indptr, histories.items, weights, embeddings, parallel=parallel
    )
    total = np.bincount(_context(histories), weights, minlength=histories.num_contexts)
    there = np.flatnonzero(total > 0)
    ones = np.ones(len(there), dtype=np.float32)
    return Pooled(vectors[there], there, np.zeros(len(there), dtype=np.int32), ones)


def mean(
    rows: Int32,
    indptr: Int64,
    items: Int32,
    weights: Floats,
    embeddings: Matrix,
    *,
    parallel: bool = True,
) -> Matrix:
    """Weighted mean of the items' vectors of some contexts, float32 [rows, d].

    `weights` is float32 [E], beside `items`; a context whose weights sum to 0 has zeros.
    """
    kernel = kernels.pool_parallel if parallel else kernels.pool_serial
    vectors: Matrix = kernel(rows, indptr, items, weights, np.asarray(embeddings))
    return vectors


def recency(histories: Histories, settings: ContextsConfig) -> Floats:
    """What each entry weighs in its context, float32 [E], 0 or more.

    All but the `newest` entries weigh 0. With `half_life_days` h an age of a days, before the
    context's own newest entry, is worth 2^(−a/h): what is common to all of a context's weights
    changes no mean.
    """
    sizes = np.diff(histories.indptr)
    later = np.repeat(histories.indptr[1:], sizes) - np.arange(len(histories.items)) - 1
    weights = (later < settings.newest).astype(np.float64)
    if settings.by_weight:
        weights *= np.maximum(histories.weights, 0)
    if settings.half_life_days > 0:
        last = histories.indptr[1:][sizes > 0] - 1
        newest = np.repeat(histories.times[last], sizes[sizes > 0])
        age = (newest - histories.times) / DAY
        weights = weights * np.exp2(-age / settings.half_life_days)
    return weights.astype(np.float32)


def _medoids(
    histories: Histories,
    weights: Floats,
    embeddings: Matrix,
    settings: ContextsConfig,
    *,
    parallel: bool,
) -> Pooled:
    indptr, items, summed = _distinct(histories, weights)
    kernel = kernels.medoids_parallel if parallel else kernels.medoids_serial
    entries, shares = kernel(
        indptr, items, summed, np.asarray(embeddings), settings.medoids, settings.spread
    )
    context, number = np.nonzero(entries >= 0)
    rows = items[entries[context, number]]
    return Pooled(
        np.asarray(embeddings)[rows],
        context,
        number.astype(np.int32),
        shares[context, number],
    )


def _distinct(histories: Histories, weights: Floats) -> tuple[Int64, Int32, Floats]:
    """The entries that have weight, one for each item of a context, by item; weights summed."""
    there = weights > 0
    context, items = _context(histories)[there], histories.items[there]
    order = np.lexsort((items, context))
    context, items = context[order], items[order]
    new = np.ones(len(items), dtype=np.bool_)
    new[1:] = (context[1:] != context[:-1]) | (items[1:] != items[:-1])
    summed = np.bincount(np.cumsum(new) - 1, weights[there][order], minlength=int(new.sum()))
    sizes = np.bincount(context[new], minlength=histories.num_contexts)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return indptr, items[new], summed.astype(np.float32)


def _context(histories: Histories) -> Int64:
    """The context of each entry, int64 [E]."""
    return np.repeat(np.arange(histories.num_contexts), np.diff(histories.indptr))
