"""Validation after each epoch: pairs of the validation period, ranked over the full catalog."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch_frame.data import TensorFrame

from pinsage.config import GEOMETRIC_MEAN, Config
from pinsage.data.pairs import consecutive_pairs
from pinsage.errors import TrainingError
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.metrics import (
    choice_score,
    headline_metric,
    hit_rate,
    mean_reciprocal_rank,
    usable_ks,
)
from pinsage.evaluation.ranking import rank_pairs
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.local import embed_items
from pinsage.model.pinsage import PinSage


class Validation:
    """Metrics of a model on the validation period.

    Args:
        config: cut-offs, block sizes, how many pairs
        parts: folder of the split
        features: of all N items
        table: neighbourhoods of the training period

    Raises TrainingError where the validation period has no pair.
    """

    def __init__(
        self, config: Config, parts: Path, features: TensorFrame, table: Neighbourhoods
    ) -> None:
        pairs = consecutive_pairs(parts / "valid.parquet", equal_times="drop")
        if len(pairs) == 0:
            raise TrainingError(
                "the validation period has no two interactions in a row by the same user; raise "
                "split.valid_share"
            )
        rng = np.random.Generator(np.random.Philox(config.seed))
        chosen = rng.permutation(len(pairs))[: config.training.validation_pairs]
        self._query, self._positive = pairs.query_row[chosen], pairs.positive_row[chosen]
        self._ks = usable_ks(config.evaluation.ks, table.num_items)
        self._config = config
        self._features = features
        self._table = table

    @property
    def score(self) -> str:
        """The metric that chooses the epoch."""
        return self._config.training.choosing_metric(headline_metric(self._ks))

    def __call__(self, model: PinSage) -> dict[str, float]:
        """Hit-rates and MRR of the current weights."""
        device = next(model.parameters()).device
        block = self._config.embed.block
        embeddings = embed_items(model.cpu(), self._features, self._table, block=block)
        queries = model.as_query_map()(embeddings)
        model.to(device)
        ranks = rank_pairs(
            EmbeddingScorer("PinSage", embeddings, queries),
            self._query,
            self._positive,
            num_items=self._table.num_items,
            block=self._config.evaluation.block,
        )
        hits = {f"hit_rate_{k}": hit_rate(ranks, k) for k in self._ks}
        mrr = mean_reciprocal_rank(ranks)
        found = {**hits, "mrr": mrr}
        if self.score == GEOMETRIC_MEAN:
            found[GEOMETRIC_MEAN] = choice_score("both", hits[headline_metric(self._ks)], mrr)
        return found
