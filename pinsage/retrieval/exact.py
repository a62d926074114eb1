"""Exact search by inner product: a matrix product finds who may be among the best, float64 decides.

A product in float32, or in bfloat16 where the processor multiplies that faster, is off by at most
a known bound (Higham, Accuracy and Stability of Numerical Algorithms, 2002, §3.1). What scores less
than the k-th best by more than twice the bound is not among the k best; the few others are scored
again in float64, in the order of the dimensions. So the answer is the same to the bit for any
batch, tile, threads and BLAS, and among equal scores the smaller row comes first.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pinsage.retrieval.alone import without_teams
from pinsage.retrieval.candidates import finish, take, to_bfloat16

Matrix = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Product = Callable[[Matrix], Matrix]

_TILE_QUERIES = 256
_TILE_SCORES = 256 * 1024  # 1 MiB: they stay in the second-level cache
_TILE_ITEMS = 16_384  # the most, however few the queries
_SPARE = 512  # candidates beyond 2 k that are held before they are sorted out
_WORTH_BFLOAT16 = 32  # queries; fewer wait for memory, not for arithmetic
_HALF_ULP = 2.0**-8  # of bfloat16, as `2.0**-24` is of float32


class ExactSearch:
    """The k best rows of a matrix for each query, by inner product.

    `vectors` is finite float32 [N, d], possibly memory-mapped. `bfloat16` says what the product is
    made in; None takes what is faster here. It changes no result.
    """

    def __init__(self, vectors: Matrix, *, bfloat16: bool | None = None) -> None:
        self.vectors = vectors
        self.bfloat16 = bfloat16

    @cached_property
    def _longest(self) -> float:
        return float(_lengths(self.vectors).max(initial=0.0))

    def search(
        self, queries: Matrix, k: int, *, allowed: Rows | None = None, threads: int = 1
    ) -> tuple[Matrix, Rows]:
        """Scores float32 [Q, k], best first, and rows int64 [Q, k]; −inf and −1 where none is left.

        `queries` is finite float32 [Q, d]; `allowed` int64, ascending and distinct, are the only
        rows that are found.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        rows = np.full((len(queries), k), -1, dtype=np.int64)
        most = min(k, len(self.vectors) if allowed is None else len(allowed))
        if most == 0 or len(queries) == 0:
            return scores, rows
        size = min(_TILE_QUERIES, -(-len(queries) // max(1, threads)))
        narrow = self._narrow(size)

        def search(first: int) -> None:
            some = slice(first, first + size)
            scores[some, :most], rows[some, :most] = self._block(
                queries[some], most, allowed, narrow=narrow
            )

        with without_teams(), ThreadPoolExecutor(max(1, threads)) as pool:
            for _ in pool.map(search, range(0, len(queries), size)):
                pass  # raises what a thread raised
        return scores, rows

    def _narrow(self, num_queries: int) -> bool:
        if self.bfloat16 is None:
            return num_queries >= _WORTH_BFLOAT16 and bfloat16_is_faster()
        return self.bfloat16

    def _block(
        self, queries: Matrix, k: int, allowed: Rows | None, *, narrow: bool
    ) -> tuple[Matrix, Rows]:
        num_rows = len(self.vectors) if allowed is None else len(allowed)
        errors = error_bounds(queries, self._longest, narrow=narrow)
        held = np.empty((len(queries), 2 * k + _SPARE), dtype=np.float64)
        held_rows = np.empty(held.shape, dtype=np.int64)
        counts = np.zeros(len(queries), dtype=np.int64)
        floors = np.full(len(queries), -np.inf, dtype=np.float32)
        state = (held, held_rows, counts, floors)
        step = min(_TILE_ITEMS, max(1024, _TILE_SCORES // len(queries)), num_rows)
        multiply = _in_bfloat16(queries, step) if narrow else _in_float32(queries, step)
        for first in range(0, num_rows, step):
            ids = np.arange(first, min(first + step, num_rows))
            if allowed is not None:
                ids = allowed[ids]
            tile = self.vectors[first : first + step] if allowed is None else self.vectors[ids]
            take(multiply(tile), ids, self.vectors, queries, errors, k, *state)
        best = np.empty((len(queries), k), dtype=np.float32)
        best_rows = np.empty((len(queries), k), dtype=np.int64)
        finish(self.vectors, queries, errors, k, *state[:3], best, best_rows)
        return best, best_rows


def error_bounds(queries: Matrix, longest: float, *, narrow: bool) -> Float64:
    """How far a product of each query with a vector up to `longest` may be off, float64 [Q]."""
    width = queries.shape[1]
    steps = width * 2.0**-24
    lengths = _lengths(queries)
    relative = steps / (1 - steps)
    if narrow:  # both factors and the sum are rounded
        relative = 2 * relative + 3.1 * _HALF_ULP
    # Numbers near the smallest may be taken for 0, and sums may pass the largest.
    tiny = 2 * float(np.finfo(np.float32).tiny) * width * (1 + lengths + longest)
    bounds: Float64 = 1.01 * relative * lengths * longest + tiny
    bounds[lengths * longest > 1e38] = np.inf
    return bounds


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies in bfloat16 clearly faster than in float32: it is tried."""
    rng = np.random.default_rng(0)
    queries, items = rng.random((256, 128), np.float32), rng.random((1024, 128), np.float32)
    with without_teams():
        times = [
            min(_seconds(make(queries, len(items)), items) for _ in range(5))
            for make in (_in_bfloat16, _in_float32)
        ]
    return times[0] < 0.8 * times[1]


def _seconds(multiply: Product, items: Matrix) -> float:
    start = time.perf_counter()
    multiply(items)
    return time.perf_counter() - start


def _in_float32(queries: Matrix, most: int) -> Product:
    space = np.empty(len(queries) * most, dtype=np.float32)

    def multiply(tile: Matrix) -> Matrix:
        out = space[: len(queries) * len(tile)].reshape(len(queries), len(tile))
        with np.errstate(all="ignore"):  # the bound is infinite where a sum can overflow
            return np.matmul(queries, tile.T, out=out)

    return multiply


def _in_bfloat16(queries: Matrix, most: int) -> Product:
    import torch

    rounded = np.empty(queries.shape, dtype=np.int16)
    to_bfloat16(queries, rounded)
    left = torch.from_numpy(rounded).view(torch.bfloat16)
    items = np.empty((most, queries.shape[1]), dtype=np.int16)
    space = torch.empty(len(queries) * most, dtype=torch.bfloat16)
    wide = torch.empty(len(queries) * most, dtype=torch.float32)

    def multiply(tile: Matrix) -> Matrix:
        shape, size = (len(queries), len(tile)), len(queries) * len(tile)
        to_bfloat16(tile, items)
        right = torch.from_numpy(items[: len(tile)]).view(torch.bfloat16)
        product = space[:size].view(shape)
        torch.mm(left, right.T, out=product)
        out = wide[:size].view(shape).copy_(product).numpy()
        return np.asarray(out)

    return multiply


def _lengths(vectors: Matrix) -> Float64:
    squares: Float64 = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)
