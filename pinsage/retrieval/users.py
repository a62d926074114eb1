"""Items for users: what several vectors find together, without what is not to be shown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pinsage.retrieval.published import Matrix, Published

Rows = npt.NDArray[np.int64]


def best_rows(
    version: Published,
    vectors: Matrix,
    owner: Rows,
    k: int,
    *,
    exclude: Sequence[Rows],
    allowed: Rows | None = None,
) -> list[tuple[Rows, Matrix]]:
    """The `k` best items of each query: their rows and scores, the best first.

    `vectors` is float32 [V, d], items' or pooled from items'; `owner` [V] says which of the Q
    queries each is of, ascending. `exclude` has the rows that are kept from each query. An item's
    score for a query is its best with one of the query's vectors, so that the best items of all
    are among the best of each. With `allowed` only these rows are found.
    """
    if not len(vectors) or (allowed is not None and not len(allowed)):
        return [(np.empty(0, np.int64), np.empty(0, np.float32)) for _ in exclude]
    most = min(k + max(map(len, exclude), default=0), len(version.items))
    scores, rows = version.search(vectors, most, allowed=allowed)
    bounds = np.searchsorted(owner, np.arange(len(exclude) + 1))
    return [
        _merge(rows[start:stop].ravel(), scores[start:stop].ravel(), hidden, k)
        for start, stop, hidden in zip(bounds[:-1], bounds[1:], exclude, strict=True)
    ]


def _merge(rows: Rows, scores: Matrix, hidden: Rows, k: int) -> tuple[Rows, Matrix]:
    shown = (rows >= 0) & ~np.isin(rows, hidden)
    rows, scores = rows[shown], scores[shown]
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(rows[order], return_index=True)
    best = order[np.sort(first)[:k]]
    return rows[best], scores[best]
