"""From a request to an answer, out of one open version: pure functions of the two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pinsage.config import ContextsConfig
from pinsage.contexts.pooling import Histories, pool
from pinsage.errors import UnknownItemError
from pinsage.retrieval.published import one_line
from pinsage.retrieval.users import best_rows
from pinsage.serving.messages import (
    MOST_COMPARED,
    Filters,
    Item,
    ItemQuery,
    RecommendRequest,
    RelatedRequest,
    RelatedResult,
    Taken,
    User,
    UserResult,
)
from pinsage.serving.new_items import embedded, missing
from pinsage.serving.opened import Opened
from pinsage.serving.refused import RefusedError

Rows = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


def related(opened: Opened, request: RelatedRequest) -> list[RelatedResult]:
    """Items related to each query. Raises RefusedError where one cannot be answered."""
    known = [_known(opened, place, query) for place, query in enumerate(request.queries)]
    vectors = opened.published.vectors[np.array([max(row, 0) for row in known])]
    new = [place for place, row in enumerate(known) if row < 0]
    notes: list[list[str]] = [[] for _ in known]
    if new:
        vectors[new] = embedded(opened, {place: request.queries[place] for place in new})
        for place in new:
            notes[place] = missing(opened, request.queries[place])
    hidden = [np.array([row] if row >= 0 else [], dtype=np.int64) for row in known]
    found = _search(opened, vectors, np.arange(len(known)), hidden, request)
    return [
        RelatedResult.model_construct(
            item_id=opened.ids[row] if row >= 0 else None, items=items, notes=said
        )
        for row, items, said in zip(known, found, notes, strict=True)
    ]


def recommend(
    opened: Opened, request: RecommendRequest, settings: ContextsConfig
) -> list[UserResult]:
    """Items for each user, by what it took, pooled as `settings` and the request say.

    Raises RefusedError where the version has nothing of what a user took, and where to group what
    the users took would take more than a request's share of time.
    """
    chosen = _settings(request, settings)
    taken = [_taken(opened, place, user) for place, user in enumerate(request.users)]
    _refuse_long([len(known) for known, _ in taken], chosen)
    rows = [[row for row, _ in known] for known, _ in taken]
    pooled = pool(
        _histories([known for known, _ in taken]),
        opened.published.vectors,
        chosen,
        parallel=False,
    )
    nothing = sorted(set(range(len(rows))) - set(pooled.context.tolist()))
    if nothing:
        raise RefusedError(
            422, "everything that this user took weighs 0", f"users[{nothing[0]}].items",
            "give at least one item of the catalog a weight above 0",
        )  # fmt: skip
    hidden = [np.array([] if request.include_given else each, dtype=np.int64) for each in rows]
    found = _search(opened, pooled.vectors, pooled.context, hidden, request)
    return [
        UserResult.model_construct(items=items, unknown=unknown)
        for items, (_, unknown) in zip(found, taken, strict=True)
    ]


def _refuse_long(sizes: Sequence[int], settings: ContextsConfig) -> None:
    compared = sum(min(size, settings.newest) ** 2 for size in sizes)
    if settings.pool == "medoids" and compared > MOST_COMPARED:
        raise RefusedError(
            422, f"medoids compare each of a user's newest items with each other, which here are "
            f"{compared:,} pairs; {MOST_COMPARED:,} are the most of a request", "users",
            "ask in several requests, with a smaller `newest`, or with pool \"mean\"",
        )  # fmt: skip


def _search(
    opened: Opened, vectors: Vectors, owner: Rows, hidden: list[Rows], filters: Filters
) -> list[list[Item]]:
    excluded = opened.rows(filters.exclude)
    allowed = None
    if filters.allowed is not None:
        allowed = np.setdiff1d(opened.rows(filters.allowed), excluded)
    elif len(excluded):
        hidden = [np.concatenate([each, excluded]) for each in hidden]
    found = best_rows(opened.published, vectors, owner, filters.k, exclude=hidden, allowed=allowed)
    return [_items(opened, *each) for each in found]


def _items(opened: Opened, rows: Rows, scores: Vectors) -> list[Item]:
    pairs = zip(rows.tolist(), scores.tolist(), strict=True)
    return [
        Item.model_construct(
            rank=rank, item_id=opened.ids[row], title=opened.titles[row], score=score
        )
        for rank, (row, score) in enumerate(pairs, start=1)
    ]


def _known(opened: Opened, place: int, query: ItemQuery) -> int:
    """Row of a query's item, -1 for a new one."""
    if query.item_id is None:
        return -1
    try:
        return opened.row(query.item_id)
    except UnknownItemError as error:
        raise RefusedError(
            404, str(error), f"queries[{place}].item_id",
            "ask for an item of the catalog, or give the features of a new one",
        ) from None  # fmt: skip


def _taken(
    opened: Opened, place: int, user: User
) -> tuple[list[tuple[int, Taken]], list[int | str]]:
    """What a user took that the version has, in the order of time, and the ids that it has not."""
    items = [each if isinstance(each, Taken) else Taken(item_id=each) for each in user.items]
    found = [(opened.find(each.item_id), each) for each in items]
    known = [(row, each) for row, each in found if row is not None]
    if not known:
        raise RefusedError(
            404, f"version {opened.version} has none of these {len(items):,} items, the first of "
            f"them {one_line(repr(items[0].item_id))}; ids look like "
            f"{one_line(repr(opened.ids[0]))}",
            f"users[{place}].items", "give at least one item of the catalog",
        )  # fmt: skip
    known.sort(key=lambda pair: pair[1].microseconds)  # stable: without times the order is kept
    return known, [each.item_id for row, each in found if row is None]


def _histories(taken: Sequence[Sequence[tuple[int, Taken]]]) -> Histories:
    together = [pair for each in taken for pair in each]
    return Histories(
        indptr=np.cumsum([0, *map(len, taken)]),
        items=np.array([row for row, _ in together], dtype=np.int32),
        times=np.array([each.microseconds for _, each in together], dtype=np.int64),
        weights=np.array([each.weight for _, each in together], dtype=np.float32),
    )


def _settings(request: RecommendRequest, settings: ContextsConfig) -> ContextsConfig:
    asked: dict[str, Any] = request.model_dump(
        include={"pool", "medoids", "spread", "newest", "half_life_days"}, exclude_none=True
    )
    base = {**settings.model_dump(), "by_weight": True}  # without weights given, all are 1
    if base["pool"] == "none":
        base["pool"] = "mean"
    return ContextsConfig.model_validate({**base, **asked})
