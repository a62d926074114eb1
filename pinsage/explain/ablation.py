"""How two items would score with less to go on, by the published model itself.

Exact: an item without neighbours is embedded from its own input alone (Algorithm 1 with an empty
n_u), so that a forward pass over the two items is all there is to it.

Shapes: S items, D widths.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.explain.links import standings
from pinsage.explain.parts import Ablation, Stripped
from pinsage.graph.neighbourhoods import Degree
from pinsage.inference.layers import alone_block
from pinsage.model.pinsage import PinSage
from pinsage.model.text_vectors import TextVectors

# Ranks need the whole catalog stripped: seconds up to here, and an answer must not take minutes.
_RANKED_UP_TO = 50_000
_BLOCK = 4096

Matrix = npt.NDArray[np.float32]


def ablate(
    model: PinSage,
    items: pd.DataFrame,
    degree: Degree,
    query: int,
    item: int,
    *,
    texts: TextVectors | None = None,
    ranked_up_to: int = _RANKED_UP_TO,
) -> Ablation:
    """The score of the two without neighbours, and as if both were new to the catalog.

    `texts` is where vectors of texts come from, as `FeatureSpec.transform` takes it.
    """
    everything = len(items) <= ranked_up_to
    rows = np.arange(len(items)) if everything else np.array([query, item])
    ends = (query, item) if everything else (0, 1)

    def stripped(vectors: Matrix) -> Stripped:
        queries = model.as_query_map()(vectors)
        score = float(queries[ends[0]] @ vectors[ends[1]])
        scorer = EmbeddingScorer("stripped", vectors, queries)
        return Stripped(score, standings(scorer, *ends, len(rows)) if everything else None)

    return Ablation(
        stripped(embed_alone(model, items, degree, rows, texts)),
        stripped(embed_alone(model, items, np.zeros_like(degree), rows, texts, as_new=True)),
    )


def embed_alone(
    model: PinSage,
    items: pd.DataFrame,
    degree: Degree,
    rows_S: npt.NDArray[np.int64],
    texts: TextVectors | None = None,
    *,
    as_new: bool = False,
) -> Matrix:
    """Embeddings of items as if none had a neighbour, float32 [S, D].

    `as_new` hides their id vectors too, as it is with items that training never saw.
    """
    blocks = [rows_S[start : start + _BLOCK] for start in range(0, len(rows_S), _BLOCK)]
    return np.concatenate(
        [_embed_block(model, items, degree, rows, texts, as_new) for rows in blocks]
    )


def _embed_block(
    model: PinSage,
    items: pd.DataFrame,
    degree: Degree,
    rows_S: npt.NDArray[np.int64],
    texts: TextVectors | None,
    as_new: bool,
) -> Matrix:
    features = model.spec.transform(items.iloc[rows_S], degree[rows_S], texts)
    id_rows = np.full_like(rows_S, model.num_items) if as_new else rows_S
    vectors: Matrix = alone_block(model, features, torch.from_numpy(id_rows)).numpy()
    return vectors
