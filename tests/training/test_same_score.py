"""No self-deception: what training scores by is what evaluation ranks and retrieval finds by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pinsage.config import Config, parse_config
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.model.query import Matrix
from pinsage.retrieval.published import load_published

if TYPE_CHECKING:
    from tests.conftest import RunStages


@pytest.mark.parametrize("normalize", [True, False])
def test_a_query_ranks_alike_in_training_evaluation_and_retrieval(
    tiny_config: Config, run_stages: RunStages, *, normalize: bool
) -> None:
    tree = tiny_config.model_dump(mode="json")
    tree["model"] |= {"query_map": True, "normalize": normalize}
    tree["training"] |= {"loss": "softmax", "learning_rate": 0.02}
    run = run_stages(parse_config(tree))
    model = load_model(run.train.path / "model")
    scores = scores_of(model, np.load(run.evaluate.file("embeddings.npy")))
    assert np.abs(scores - scores.T).max() > 1e-3, "the map has learnt a direction"
    pairs = pq.read_table(run.evaluate.file("ranks.parquet")).slice(0, 50)
    columns = (pairs[name].to_pylist() for name in ("query_row", "positive_row", "PinSage"))
    for query, positive, rank in zip(*columns, strict=True):
        others = np.delete(scores[query], [query, positive]) - scores[query, positive]
        above, level = int((others > 1e-6).sum()), int((np.abs(others) <= 1e-6).sum())
        assert above + 1 <= rank <= above + level + 1
    version = load_published(tiny_config.root, "tiny")
    published = scores_of(model, version.vectors)
    for row in range(0, len(published), 7):
        found = [each.score for each in version.related(row, 5)]
        expected = np.sort(np.delete(published[row], row))[::-1][:5]
        assert found == pytest.approx(expected.tolist(), abs=1e-5)


def scores_of(model: PinSage, vectors: Matrix) -> Matrix:
    """As the loss scores: every item for every query, float32 [N, N]."""
    z = torch.tensor(vectors)
    with torch.no_grad():
        scores: Matrix = (model.query(z) @ z.T).numpy()
    return scores
