"""Transition counts: what training's users took soon after the query."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.ranking import Rows, Scores

_BELOW_A_STEP = 0.49  # a cosine of 1 must stay under half a step


@dataclass(frozen=True)
class Steps:
    """How often training went from each item to each other, one way and the other.

    Attributes:
        indptr, indices: CSR of the items next to each other, int64 [N + 1], int32 [S]
        forward, backward: float64 [S], steps from the row's item to the other, and back
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    forward: npt.NDArray[np.float64]
    backward: npt.NDArray[np.float64]

    @classmethod
    def of(cls, pairs: Pairs, num_items: int) -> Steps:
        """Count the pairs of the training period."""
        query, positive = pairs.query_row.astype(np.int64), pairs.positive_row.astype(np.int64)
        either = np.concatenate([query * num_items + positive, positive * num_items + query])
        keys, step = np.unique(either, return_inverse=True)
        rows, items = np.divmod(keys, num_items)
        return cls(
            np.searchsorted(rows, np.arange(num_items + 1)).astype(np.int64),
            items.astype(np.int32),
            np.bincount(step[: len(pairs)], minlength=len(keys)).astype(np.float64),
            np.bincount(step[len(pairs) :], minlength=len(keys)).astype(np.float64),
        )


@dataclass(frozen=True)
class TransitionScorer:
    """How often training went from the query to the item within a window; 1 is a Markov chain.

    Steps from the item to the query count `backward`. Ties, above all the items with no step at
    all, are broken by item-kNN (Rendle et al., WWW 2010, factorise the same counts to fill the
    gaps).

    Attributes:
        indptr, indices, counts: CSR of the discounted counts, int64 [N + 1], int32 [S], float32 [S]
        fallback: breaks ties
        settings: what was chosen on validation pairs, beside the settings of the fallback
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    counts: npt.NDArray[np.float32]
    fallback: ItemKNNScorer
    settings: Mapping[str, Any]
    name: str = "transitions"

    @classmethod
    def of(
        cls, steps: Steps, fallback: ItemKNNScorer, settings: Mapping[str, Any]
    ) -> TransitionScorer:
        """Discount the steps back by the settings' `backward`, which is 0, ½ or 1."""
        counts = steps.forward + settings["backward"] * steps.backward
        return cls(steps.indptr, steps.indices, counts.astype(np.float32), fallback, settings)

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]: multiples of ½, and below that the cosines of item-kNN."""
        scores = self.fallback.score(query_rows)
        scores *= np.float32(_BELOW_A_STEP)
        _add_rows(query_rows, self.indptr, self.indices, self.counts, scores)
        return scores


@numba.njit(parallel=True, cache=True)
def _add_rows(query_rows: Any, indptr: Any, indices: Any, values: Any, scores: Any) -> None:
    for position in numba.prange(len(query_rows)):
        query = query_rows[position]
        for entry in range(indptr[query], indptr[query + 1]):
            scores[position, indices[entry]] += values[entry]
