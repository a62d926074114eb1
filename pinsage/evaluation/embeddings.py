"""Ranking by embeddings, as retrieval ranks (PinSage §3.5): the highest inner products first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from pinsage.errors import TrainingError
from pinsage.evaluation.exact import RankBlock, Vectors, lengths, rank_by_vectors, rank_on_cpu
from pinsage.evaluation.ranking import Rows, Scores

_LONGEST = 1e18  # products of longer vectors could leave float32


@dataclass(frozen=True)
class EmbeddingScorer:
    """Inner product of a query's vector with every item's.

    Attributes:
        embeddings: float32 [N, d]
        queries: float32 [N, d], the items' vectors as queries, where those are others
        settings: what was chosen on validation pairs
        device: `cpu`, or the torch device that computes ranks
    """

    name: str
    embeddings: Vectors
    queries: Vectors | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]."""
        return self._queries[query_rows] @ self.embeddings.T

    def rank(
        self, query_rows: Rows, bounds: npt.NDArray[np.int64], positives: Rows, top: int
    ) -> tuple[npt.NDArray[np.float64], Rows]:
        """Exact ranks, float64 [P], and the best items, int32 [Q, top]: no [Q, N] is made.

        Raises TrainingError where a vector is not finite, or too long for float32 products.
        """
        for vectors in {id(m): m for m in (self.embeddings, self._queries)}.values():
            self._check(vectors)
        return rank_by_vectors(
            self._queries, self.embeddings, query_rows, bounds, positives,
            top=top, rank_block=self._ranker(),
            threads=numba.get_num_threads() if self.device == "cpu" else 1,
        )  # fmt: skip

    def _ranker(self) -> RankBlock:
        if self.device == "cpu":
            return rank_on_cpu
        from pinsage.evaluation.exact_torch import ranker_on

        return ranker_on(self.device, self.embeddings)

    @property
    def _queries(self) -> Vectors:
        return self.embeddings if self.queries is None else self.queries

    def _check(self, vectors: Vectors) -> None:
        wrong = np.flatnonzero(~(lengths(vectors) < _LONGEST))  # NaN compares as false
        if len(wrong):
            row = int(wrong[0])
            raise TrainingError(
                f"{self.name}: expected finite vectors shorter than {_LONGEST:g} (got "
                f"{len(wrong):,} others, the first of item row {row}: {vectors[row][:4]}…); a "
                f"rank from them would mean nothing, so look at the loss of the training"
            )
