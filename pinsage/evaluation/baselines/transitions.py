"""Transition counts: what training's users took straight after the query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.ranking import Rows, Scores

_BELOW_A_STEP = 0.49  # a cosine of 1 must stay under half a step


@dataclass(frozen=True)
class TransitionScorer:
    """How often training went from the query straight to the item: a first-order Markov chain.

    Steps from the item to the query count `backward`. Ties, above all the items with no step at
    all, are broken by item-kNN (Rendle et al., WWW 2010, factorise the same counts to fill the
    gaps).

    Attributes:
        indptr, indices, counts: CSR of the discounted counts, int64 [N + 1], int32 [S], float32 [S]
        fallback: breaks ties
        backward: 0, ½ or 1
    """

    indptr: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int32]
    counts: npt.NDArray[np.float32]
    fallback: ItemKNNScorer
    backward: float = 0.5
    name: str = "transitions"

    @classmethod
    def of(
        cls,
        query_row: Rows,
        positive_row: Rows,
        fallback: ItemKNNScorer,
        *,
        backward: float = 0.5,
    ) -> TransitionScorer:
        """Count the pairs of the training period, int32 [P] each, in both directions."""
        size = fallback.graph.num_items
        forward = query_row.astype(np.int64) * size + positive_row
        back = positive_row.astype(np.int64) * size + query_row
        keys, step = np.unique(np.concatenate([forward, back]), return_inverse=True)
        worth = np.repeat([1.0, backward], [len(forward), len(back)])
        rows, items = np.divmod(keys, size)
        return cls(
            indptr=np.searchsorted(rows, np.arange(size + 1)).astype(np.int64),
            indices=items.astype(np.int32),
            counts=np.bincount(step, weights=worth, minlength=len(keys)).astype(np.float32),
            fallback=fallback,
            backward=backward,
        )

    @property
    def settings(self) -> dict[str, float]:
        """What was chosen on validation pairs, beside the settings of the fallback."""
        return {"backward": self.backward}

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
