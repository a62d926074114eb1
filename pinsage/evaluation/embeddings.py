"""Ranking by embeddings, as retrieval ranks (PinSage §3.5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pinsage.evaluation.ranking import Rows, Scores


@dataclass(frozen=True)
class EmbeddingScorer:
    """Inner product of the embeddings, as retrieval ranks (PinSage §3.5).

    Attributes:
        embeddings: float32 [N, d]
    """

    name: str
    embeddings: npt.NDArray[np.float32]

    def score(self, query_rows: Rows) -> Scores:
        """Scores, float32 [B, N]."""
        import torch  # only this scorer needs it

        items = torch.from_numpy(self.embeddings)
        scores: Scores = (items[torch.from_numpy(query_rows).long()] @ items.T).numpy()
        return scores
