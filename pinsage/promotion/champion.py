"""The weights that readers follow, over tonight's training graph: what a challenger must match.

Both models embed the same items over the same graph and neighbourhoods, so that they differ in
their weights alone. What belongs to an item follows the item's id; items that the champion never
saw rest on content and neighbours, as its newcomers do.

Invariant: a champion that has learnt from anything in tonight's test period is not compared.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from pinsage.config import Config
from pinsage.data.pairs import Pairs
from pinsage.errors import ArtifactError, MissingExtraError, TrainingError
from pinsage.evaluation.metrics import Ranks, headline_k, hit_rate, mean_reciprocal_rank
from pinsage.evaluation.protocol import check_some
from pinsage.evaluation.ranking import rank_pairs
from pinsage.evaluation.stage import read_pairs, trained_scorer
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.local import embed_items, read_items
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text_vectors import SentenceVectors
from pinsage.retrieval.shelf import EMBEDDINGS
from pinsage.store import Artifact, Facts, Manifest, open_artifact

RANKS = "ranks.parquet"
_log = logging.getLogger(__name__)


class IncomparableError(Exception):
    """A champion cannot be ranked on tonight's window; the message says why."""


def write_champion_ranks(
    config: Config, parts: Artifact, graph: Path, table: Path, version: Path | None, out: Path
) -> Facts:
    """Rank the pairs of the test period by the model of a published version.

    ranks.parquet has user_row, query_row, positive_row, timestamp and rank, a row a pair, the
    pairs of the evaluate stage in its order. All paths are folders. Returns comparable, version
    and reason (why there is no comparison, else ""), and where there is one num_pairs,
    num_known_items, hit_rate_<K> and mrr. Raises ContractError where the period has no pair.
    """
    facts: Facts = {"comparable": False, "version": version.name if version else "", "reason": ""}
    try:
        if version is None:
            raise IncomparableError(f"nothing else is published for {config.name} yet")
        seen = _require_no_leakage(_opened(version), parts)
        embeddings, num_known = _embed(config, parts.path, graph, table, version)
    except IncomparableError as reason:
        _log.warning("the champion is not compared: %s", reason)
        return {**facts, "reason": str(reason)}
    num_items = len(embeddings)
    pairs, _ = read_pairs(parts.path, "test", num_items)
    check_some(pairs)
    scorer = trained_scorer(config, version, embeddings)
    block = config.evaluation.block
    ranks = rank_pairs(scorer, pairs.query_row, pairs.positive_row, num_items, block)
    pq.write_table(_ranks_table(pairs, ranks), out / RANKS)
    k = headline_k(config.evaluation.ks)
    return {
        **facts,
        "comparable": True,
        "seen_until": seen,
        "num_pairs": len(pairs),
        "num_known_items": num_known,
        f"hit_rate_{k}": hit_rate(ranks, k),
        "mrr": mean_reciprocal_rank(ranks),
    }


def at_rows_of(model: PinSage, known_ids: Sequence[Any], item_ids: Sequence[Any]) -> int:
    """Move the id vectors of `model` to the rows that their items have now.

    `known_ids` are those of the model's rows, `item_ids` those of tonight's catalog. Returns how
    many items of tonight's the model was trained on.
    """
    old = model.encoder.ids
    if old is None:
        return int(pd.Index(item_ids).isin(pd.Index(known_ids)).sum())
    old_at = torch.from_numpy(pd.Index(known_ids).get_indexer(pd.Index(item_ids))).to(torch.int64)
    new_at = torch.nonzero(old_at >= 0).flatten()
    old_at = old_at[new_at]
    rows = torch.zeros(len(item_ids), old.embedding_dim)
    known = torch.zeros(len(item_ids), dtype=torch.bool)
    rows[new_at], known[new_at] = old.weight.detach()[old_at], model.encoder.known[old_at]
    model.encoder.ids = nn.Embedding.from_pretrained(rows)
    model.encoder.known = known
    model.num_items = len(item_ids)
    return int(known.sum())


def _opened(version: Path) -> Manifest:
    try:
        return open_artifact(version).manifest
    except ArtifactError as error:
        raise IncomparableError(f"version {version.name} is damaged ({error})") from None


def _require_no_leakage(manifest: Manifest, parts: Artifact) -> str:
    """The last moment that the champion learnt from. Raises IncomparableError."""
    seen, test_from = str(manifest.facts.get("seen_until", "")), str(parts.facts["test_from"])
    if not seen:
        raise IncomparableError(
            "its version does not say until when its model has learnt, so it may have learnt from "
            "tonight's test period"
        )
    if datetime.fromisoformat(seen) >= datetime.fromisoformat(test_from):
        raise IncomparableError(
            f"its model has learnt from interactions up to {seen}, and tonight's test period "
            f"begins at {test_from}: it would be ranked on what it has seen"
        )
    return seen


def _embed(
    config: Config, parts: Path, graph: Path, table: Path, version: Path
) -> tuple[npt.NDArray[np.float32], int]:
    """Embeddings of tonight's items, float32 [N, d], and how many of them the model knows.

    Step by step as `embed_trained` does it: the same model gives the same bits.
    """
    torch.set_num_threads(config.training.threads)
    try:
        model = load_model(version / "model")
    except ArtifactError as error:  # whole, as its checksums say: written by other code
        raise IncomparableError(f"its model cannot be read any more: {error}") from None
    items = read_items(parts)
    ids = pq.read_table(version / EMBEDDINGS, columns=["item_id"])["item_id"].to_pylist()
    # Rows of the model are the first of the version: training knew no later items.
    num_known = at_rows_of(model, ids[: model.num_items], items["item_id"].tolist())
    near = Neighbourhoods.open(table)
    degree = near.shown_degree(BipartiteGraph.open(graph))
    gone = [column for column in model.spec.content if column not in items]
    if gone:
        raise IncomparableError(
            f"its features {', '.join(map(repr, gone))} are no longer in the catalog"
        )
    try:
        features = model.spec.transform(items, degree, SentenceVectors.below(config.root))
    except (TrainingError, MissingExtraError, ArtifactError) as error:
        raise IncomparableError(f"its features cannot be read any more: {error}") from None
    return embed_items(model, features, near, block=config.embed.block), num_known


def _ranks_table(pairs: Pairs, ranks: Ranks) -> pa.Table:
    columns: dict[str, npt.NDArray[np.generic]] = {
        "user_row": pairs.user_row,
        "query_row": pairs.query_row,
        "positive_row": pairs.positive_row,
        "timestamp": pairs.time,
        "rank": ranks,
    }
    return pa.table({name: pa.array(values) for name, values in columns.items()})
