"""Which items a report shows the neighbours of: those configured, else 20 from popular to rare."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

NUM_QUERIES = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Queries:
    """Rows of the queries, and configured ids that the catalog does not hold."""

    rows: tuple[int, ...]
    unknown: tuple[str, ...] = ()


def choose_queries(
    ids: Sequence[str], degree: npt.NDArray[np.int64], configured: Sequence[str]
) -> Queries:
    """Queries of a catalog of N ids (as text) and degrees, int64 [N].

    A configured id that is not there is no reason to lose a report: it is named in it.
    """
    if not configured:
        return Queries(spread_over_popularity(ids, degree))
    row_of = {item_id: row for row, item_id in reversed(list(enumerate(ids)))}
    unknown = tuple(each for each in configured if each not in row_of)
    if unknown:
        _log.warning("report.queries: not in the catalog: %s", ", ".join(unknown))
    return Queries(tuple(row_of[each] for each in configured if each in row_of), unknown)


def spread_over_popularity(
    ids: Sequence[str], degree: npt.NDArray[np.int64], num: int = NUM_QUERIES
) -> tuple[int, ...]:
    """`num` rows from the most popular item to the rarest, or all where there are fewer.

    Ranks by popularity are cut into bands that widen from the popular ones on, and each band gives
    the item whose id has the smallest hash: most queries stay the same from night to night, though
    ranks shift a little. Popular first; of equally popular items the smaller row.
    """
    by_popularity = np.argsort(-degree, kind="stable")
    if len(by_popularity) <= num:
        return tuple(by_popularity.tolist())
    chosen: list[int] = []
    for start, stop in _bands(len(by_popularity), num):
        band = by_popularity[start:stop].tolist()
        chosen.append(min(band, key=lambda row: (_hash(ids[row]), row)))
    return tuple(chosen)


def _bands(size: int, num: int) -> list[tuple[int, int]]:
    """`num` adjoining ranges over [0, size), none empty: edge i lies at size · (i / num)³.

    Equal steps would take nearly all queries from the long tail, equal factors nearly none.
    """
    edges = np.floor(size * (np.arange(num + 1) / num) ** 3).astype(np.int64)
    # The first bands are narrower than one rank: each gets at least one.
    edges = np.maximum(edges, np.arange(num + 1))
    edges[-1] = size
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _hash(item_id: str) -> bytes:
    return blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
