"""Lists for users, as published tables measure them: top K of the catalog less what is known.

The protocol of NGCF (Wang et al., SIGIR 2019) and LightGCN (He et al., SIGIR 2020): each user's
items are split without regard to time, every item is scored for every user, the user's training
items are left out, recall@K and NDCG@K are averaged over the users with a test item. It serves to
compare with those tables; a claim about the future needs the temporal split of `protocol`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numba
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pinsage.errors import ContractError, SourceError, TrainingError
from pinsage.evaluation.metrics.ndcg import ndcg
from pinsage.evaluation.metrics.pair_values import PairValues
from pinsage.evaluation.metrics.recall import recall
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.graph.bipartite import BipartiteGraph

_COLUMNS = ("user", "item", "split")


class UserScorer(Protocol):
    """Scores every item of the catalog for a user; a higher score ranks first."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def score(self, user_rows: Rows) -> Scores:
        """Finite float32 [B, N], from the training graph; training items need no care."""


@dataclass(frozen=True)
class UserSplit:
    """The items of each user, apart: those to learn from, and those to be found.

    Attributes:
        train, test: users are the contexts; equal numbers of items and of users
    """

    train: BipartiteGraph
    test: BipartiteGraph

    def __post_init__(self) -> None:
        train, test = self.train, self.test
        if (train.num_items, train.num_contexts) != (test.num_items, test.num_contexts):
            raise ContractError(
                f"split: training and test must number items and users alike (got "
                f"{train.num_items} items and {train.num_contexts} users against "
                f"{test.num_items} and {test.num_contexts})"
            )

    @classmethod
    def read(cls, path: Path) -> UserSplit:
        """Read a Parquet file with `user`, `item` (rows, from 0) and `split` (train or test).

        Raises SourceError where a column or every row is missing, or the split has another value.
        """
        found = pq.read_schema(path).names
        absent = [name for name in _COLUMNS if name not in found]
        if absent:
            raise SourceError(f"{path}: no column {absent[0]!r} (it has {', '.join(found)})")
        table = pq.read_table(path, columns=list(_COLUMNS))
        user, item = (table[name].to_numpy().astype(np.int32) for name in _COLUMNS[:2])
        if len(table) == 0:
            raise SourceError(f"{path}: expected a row for each user and item (got none)")
        part = table["split"].to_numpy()
        other = {str(value) for value in set(part)} - {"train", "test"}
        if other:
            raise SourceError(f"{path}: split must be train or test (got {sorted(other)})")
        shape = {"num_items": int(item.max()) + 1, "num_contexts": int(user.max()) + 1}
        train, test = (
            BipartiteGraph.from_edges(item[part == name], user[part == name], **shape)
            for name in ("train", "test")
        )
        return cls(train, test)

    def hold_out(self, share: float, seed: int) -> UserSplit:
        """A split of the training items alone, to choose settings on: the test stays unseen.

        Of each user's n items ⌊share · n⌋, drawn at random, are to be found.
        """
        user = np.repeat(np.arange(self.train.num_contexts), np.diff(self.train.context_indptr))
        item = self.train.context_indices
        draw = np.random.default_rng(seed).random(len(item))
        order = np.lexsort((draw, user))  # users stay in order: a place is one within its user
        place = np.arange(len(item)) - self.train.context_indptr[user]
        held = np.zeros(len(item), dtype=np.bool_)
        held[order] = place < np.floor(share * np.diff(self.train.context_indptr)[user])
        shape = {"num_items": self.train.num_items, "num_contexts": self.train.num_contexts}
        train, test = (
            BipartiteGraph.from_edges(item[mask], user[mask].astype(np.int32), **shape)
            for mask in (~held, held)
        )
        return UserSplit(train, test)


@dataclass(frozen=True)
class UserMetrics:
    """One value a user that has a test item.

    Attributes:
        user_row: int32 [U], ascending
        recall, ndcg: float64 [U]
    """

    user_row: Rows
    recall: PairValues
    ndcg: PairValues


def evaluate_users(
    scorer: UserScorer, split: UserSplit, *, k: int = 20, block: int = 512
) -> UserMetrics:
    """Recall@K and NDCG@K of every user with a test item.

    `block` is the number of users scored at a time. Raises ContractError where nobody has a test
    item, TrainingError for scores that are not finite.
    """
    relevant = np.diff(split.test.context_indptr)
    users = np.flatnonzero(relevant).astype(np.int32)
    if len(users) == 0:
        raise ContractError("split: expected a user with an item to be found (got none)")
    recalls, ndcgs = np.empty((2, len(users)))
    for rows in _blocks(len(users), block):
        best = recommend(scorer, split.train, users[rows], k)
        found = _is_relevant(best, users[rows], split.test)
        recalls[rows] = recall(found, relevant[users[rows]])
        ndcgs[rows] = ndcg(found, relevant[users[rows]])
    return UserMetrics(users, recalls, ndcgs)


def recommend(scorer: UserScorer, train: BipartiteGraph, user_rows: Rows, k: int) -> Rows:
    """The K best items of each user that are not of its training items, int32 [B, K].

    Equal scores go to the smaller row, -1 stands where the catalog is used up.
    """
    scores = scorer.score(user_rows)
    if scores.shape != (len(user_rows), train.num_items) or not np.isfinite(scores).all():
        raise TrainingError(
            f"{scorer.name}: expected finite scores of shape {(len(user_rows), train.num_items)}, "
            f"one a user and item (got {scores.shape}, finite: {np.isfinite(scores).all()})"
        )
    return best_but(scores, user_rows, train.context_indptr, train.context_indices, k)


def best_but(
    scores: Scores,
    rows: Rows,
    indptr: npt.NDArray[np.int64],
    indices: npt.NDArray[np.int32],
    k: int,
) -> Rows:
    """The K highest of each row of scores but those a CSR names, int32 [B, K].

    `scores` is [B, N]; of scores[b] the columns indices[indptr[r] : indptr[r + 1]], r = rows[b],
    ascending, are left out. Equal scores go to the smaller column; -1 where there are too few.
    """
    best: Rows = _best_but(scores, rows, indptr, indices, k)
    return best


def _is_relevant(best: Rows, user_rows: Rows, test: BipartiteGraph) -> npt.NDArray[np.bool_]:
    """Whether each item of a list is one of its user's test items, bool [B, K]."""
    size = test.num_items
    user = np.repeat(np.arange(test.num_contexts, dtype=np.int64), np.diff(test.context_indptr))
    wanted = user * size + test.context_indices  # ascending, as the CSR is
    shown = user_rows[:, None].astype(np.int64) * size + best
    place = np.minimum(np.searchsorted(wanted, shown), len(wanted) - 1)
    relevant: npt.NDArray[np.bool_] = (wanted[place] == shown) & (best >= 0)
    return relevant


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


@numba.njit(parallel=True, cache=True)
def _best_but(scores: Any, rows: Any, indptr: Any, indices: Any, size: Any) -> Any:
    best = np.full((len(scores), size), -1, dtype=np.int32)
    for query in numba.prange(len(scores)):
        row = scores[query]
        hidden, end = indptr[rows[query]], indptr[rows[query] + 1]
        held = 0
        for item in range(len(row)):
            if hidden < end and indices[hidden] == item:
                hidden += 1
                continue
            if held == size and row[item] <= row[best[query, size - 1]]:
                continue
            # Insertion from the back: equal scores stay in the order of their rows.
            place = held if held < size else size - 1
            while place > 0 and row[best[query, place - 1]] < row[item]:
                best[query, place] = best[query, place - 1]
                place -= 1
            best[query, place] = item
            held = min(held + 1, size)
    return best
