"""Power-law bipartite graphs with planted communities, of any size, written as Parquet.

Edge k is a pure function of (seed, k): counter-based, so that any chunk can be made on its own and
the size of the chunks changes no edge. Memory is a chunk's.

    context   popularity rank ⌊u^(1 / (1 − a)) · C⌋, which has density ∝ rank^−a, sent to a row by
              an affine bijection, so that rows say nothing of popularity
    item      with probability `loyalty` of the context's own community, else of any; popularity
              within the community as above
    time      one microsecond an edge
    weight    1 to 5, the smaller the more frequent

Communities are equal in size up to one: row r belongs to community r mod G, of items and of
contexts. Pairs may repeat, as a person's interactions do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_U64 = np.uint64
_GOLDEN = _U64(0x9E3779B97F4A7C15)  # splitmix64 (Steele, Lea, Flood 2014)
_MIX1 = _U64(0xBF58476D1CE4E5B9)
_MIX2 = _U64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53
_CHUNK = 1 << 20  # edges a row group


@dataclass(frozen=True)
class Communities:
    """A graph by its parameters; `exponent` is a in popularity ∝ rank^−a, in [0, 1)."""

    num_items: int
    num_contexts: int
    num_edges: int
    num_communities: int = 100
    loyalty: float = 0.8
    exponent: float = 0.7
    seed: int = 7

    def __post_init__(self) -> None:
        if not 1 <= self.num_communities <= min(self.num_items, self.num_contexts):
            raise ValueError(
                f"num_communities must lie between 1 and the number of items and of contexts, "
                f"{min(self.num_items, self.num_contexts):,} (got {self.num_communities:,})"
            )

    def tables(self, chunk: int = _CHUNK) -> Iterator[pa.Table]:
        """The edges in order, a chunk at a time, with the columns that ingest writes."""
        steps = _coprime(self.num_items // self.num_communities), _coprime(self.num_contexts)
        for start in range(0, self.num_edges, chunk):
            size = min(chunk, self.num_edges - start)
            items, contexts = (np.empty(size, dtype=np.int32) for _ in range(2))
            weights = np.empty(size, dtype=np.float32)
            _draw(
                start, self.seed, self.num_items, self.num_contexts, self.num_communities,
                self.loyalty, 1 / (1 - self.exponent), *steps, items, contexts, weights,
            )  # fmt: skip
            columns: dict[str, Any] = {
                "user_row": contexts,
                "item_row": items,
                "timestamp": np.arange(start, start + size),
                "weight": weights,
            }
            yield pa.table({name: pa.array(column) for name, column in columns.items()})

    def write(self, file: Path, chunk: int = _CHUNK) -> None:
        """Write the edges to a Parquet file, a row group a chunk."""
        tables = self.tables(chunk)
        first = next(tables)
        with pq.ParquetWriter(file, first.schema) as writer:
            writer.write_table(first)
            for table in tables:
                writer.write_table(table)


def _coprime(size: int) -> int:
    """A step through `size` places that meets each once: near the golden section, coprime to it."""
    step = max(1, int(size * 0.6180339887))
    while math.gcd(step, size) != 1:
        step += 1
    return step


@numba.njit(inline="always")
def _mix(x: Any) -> Any:
    x = (x ^ (x >> _U64(30))) * _MIX1
    x = (x ^ (x >> _U64(27))) * _MIX2
    return x ^ (x >> _U64(31))


@numba.njit(inline="always")
def _unit(key: Any, number: Any) -> Any:
    """Draw `number` of an edge, uniform in [0, 1)."""
    return np.float64(_mix(key + _U64(number) * _GOLDEN) >> _U64(11)) * _TO_UNIT


@numba.njit(inline="always")
def _popular(u: Any, power: Any, size: Any, step: Any) -> Any:
    """One of `size` places, by popularity, spread over all of them."""
    rank = min(np.int64(u**power * size), size - 1)
    return (rank * step) % size


@numba.njit(parallel=True, cache=True)
def _draw(
    start: Any,
    seed: Any,
    num_items: Any,
    num_contexts: Any,
    num_communities: Any,
    loyalty: Any,
    power: Any,
    item_step: Any,
    context_step: Any,
    items: Any,
    contexts: Any,
    weights: Any,
) -> None:
    members = num_items // num_communities
    for k in numba.prange(len(items)):
        key = _mix(_mix(_U64(seed) * _GOLDEN) + _U64(start + k) * _GOLDEN)
        context = _popular(_unit(key, 1), power, num_contexts, context_step)
        community = context % num_communities
        if _unit(key, 2) >= loyalty:
            community = np.int64(_unit(key, 3) * num_communities)
        item = _popular(_unit(key, 4), power, members, item_step) * num_communities + community
        items[k] = item
        contexts[k] = context
        weights[k] = 1 + np.int64(_unit(key, 5) ** 2 * 5)
