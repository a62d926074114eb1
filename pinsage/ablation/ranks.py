"""Ranks of one trained model alone: baselines do not depend on it, so they are not run again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import Config
from pinsage.data.pairs import Pairs
from pinsage.evaluation.metrics import (
    PairValues,
    Ranks,
    fit_block,
    hits,
    reciprocal_ranks,
    usable_ks,
)
from pinsage.evaluation.protocol import check_some
from pinsage.evaluation.ranking import rank_pairs
from pinsage.evaluation.stage import PERIODS, read_pairs, trained_scorer
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.store import Facts


def write_ranks(
    config: Config, parts: Path, graph: Path, table: Path, trained: Path, out: Path
) -> Facts:
    """Rank the pairs of validation and test by a model; one Parquet file a period.

    A row is a pair: user_row and rank. All paths are artifact folders of the training period.
    Returns the metrics, flat. Raises ContractError where a period has no pair.
    """
    from pinsage.inference.local import embed_trained  # imports torch

    embeddings = embed_trained(config, parts, graph, table, trained)
    scorer = trained_scorer(config, trained, embeddings)
    num_items = Neighbourhoods.open(table).num_items
    facts: Facts = {"num_items": num_items}
    for period in PERIODS:
        pairs, _ = read_pairs(parts, period, num_items)
        check_some(pairs)
        ranks = rank_pairs(
            scorer, pairs.query_row, pairs.positive_row, num_items, config.evaluation.block
        )
        _write(pairs, ranks, out / f"{period}.parquet")
        values = measured(ranks, config, num_items)
        facts |= {f"{period}_{name}": float(value.mean()) for name, value in values.items()}
        facts[f"{period}_num_pairs"] = len(pairs)
    return facts


def measured(ranks: Ranks, config: Config, num_items: int) -> dict[str, PairValues]:
    """Every metric of every pair, float64 [P] each: hit-rates at each K, MRR and scaled MRR."""
    block = config.evaluation.mrr_block or fit_block(num_items)
    rates = {f"hit_rate_{k}": hits(ranks, k) for k in usable_ks(config.evaluation.ks, num_items)}
    return {**rates, "mrr": reciprocal_ranks(ranks), "mrr_scaled": reciprocal_ranks(ranks, block)}


def read_ranks(file: Path) -> tuple[npt.NDArray[np.int32], Ranks]:
    """The user and the rank of every pair, int32 [P] and float64 [P]."""
    table = pq.read_table(file)
    return table["user_row"].to_numpy(), table["rank"].to_numpy()


def _write(pairs: Pairs, ranks: Ranks, file: Path) -> None:
    columns = {"user_row": pa.array(pairs.user_row), "rank": pa.array(ranks)}
    pq.write_table(pa.table(columns), file)
