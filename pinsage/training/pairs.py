"""What is trained on: pairs of the training period, their weights, and a sub-graph (PinSage §3.3).

The paper trains on a fifth of the contexts and the items in them; validation, evaluation and
inference read the whole graph all the same, since nothing that is learnt belongs to a context.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import PairsConfig
from pinsage.data.pairs import Pairs, consecutive_pairs
from pinsage.errors import TrainingError
from pinsage.graph.bipartite import BipartiteGraph

Weights = npt.NDArray[np.float32]
_BACKWARD = {
    "user_row": "user_row",
    "query_row": "positive_row",
    "positive_row": "query_row",
    "time": "time",
    "distance": "distance",
}
_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs with their weights in the loss.

    Attributes:
        pairs: P pairs
        weight: float32 [P], of mean 1
    """

    pairs: Pairs
    weight: Weights

    def __len__(self) -> int:
        return len(self.pairs)


def training_pairs(interactions: Path, config: PairsConfig, seed: int) -> TrainingPairs:
    """Pairs of a Parquet file of interactions, as configured.

    Raises TrainingError where there is none.
    """
    table = pq.read_table(interactions)
    if config.min_weight is not None:
        table = _of_weight(table, config.min_weight, interactions)
    if config.context_share < 1.0:
        chosen = chosen_contexts(table["user_row"].to_numpy(), config.context_share, seed)
        table = table.filter(pa.array(chosen))
    pairs = consecutive_pairs(
        table,
        equal_times=config.equal_times,
        max_gap_us=round(config.gap_hours * _HOUR_US),
        window=config.window,
    )
    if config.per_user:
        pairs = pairs.take(_drawn(pairs.user_row, config.per_user, seed))
    if len(pairs) == 0:
        raise TrainingError(
            "the training period has no two different items in a row by the same user, so there "
            "is nothing to learn from; check data.interactions.user_column (is it the context?) "
            "and the settings of [pairs]"
        )
    return _both_ways(TrainingPairs(pairs, pair_weights(pairs, config)), config.backward)


def _both_ways(training: TrainingPairs, share: float) -> TrainingPairs:
    """With each pair the other way round at `share` of its weight; the mean stays 1."""
    if share == 0.0:
        return training
    pairs, weight = training.pairs, training.weight
    both = Pairs(
        *(
            np.concatenate([getattr(pairs, there), getattr(pairs, back)])
            for there, back in _BACKWARD.items()
        )
    )
    weights = np.concatenate([weight, weight * share])
    return TrainingPairs(both, (weights / weights.mean()).astype(np.float32))


def pair_weights(pairs: Pairs, config: PairsConfig) -> Weights:
    """decay^(distance - 1) · 2^(-age / half-life), scaled to mean 1; float32 [P]."""
    weight = config.decay ** (pairs.distance - 1.0)
    if config.half_life_days > 0:
        age_days = (int(pairs.time.max()) - pairs.time) / _DAY_US
        weight = weight * 0.5 ** (age_days / config.half_life_days)
    scaled: Weights = (weight / weight.mean()).astype(np.float32)
    return scaled


def chosen_contexts(
    context_row: npt.NDArray[np.integer], share: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Whether each interaction's context is in the sample, bool of the length of `context_row`.

    A context is in it or not whatever others there are: its draw is a function of (seed, row).
    """
    if len(context_row) == 0:
        return np.zeros(0, dtype=np.bool_)
    rng = np.random.Generator(np.random.Philox([seed, _DAY_US]))
    chosen = rng.random(int(context_row.max()) + 1) < share
    of_each: npt.NDArray[np.bool_] = chosen[context_row]
    return of_each


def sub_graph(graph: BipartiteGraph, share: float, seed: int) -> BipartiteGraph:
    """The edges of the chosen contexts; items and contexts keep their rows."""
    context = np.repeat(
        np.arange(graph.num_contexts, dtype=np.int32), np.diff(graph.context_indptr)
    )
    kept = chosen_contexts(context, share, seed)
    return BipartiteGraph.from_edges(
        graph.context_indices[kept], context[kept],
        num_items=graph.num_items, num_contexts=graph.num_contexts,
    )  # fmt: skip


def _of_weight(table: pa.Table, least: float, source: Path) -> pa.Table:
    if "weight" not in table.column_names:
        raise TrainingError(
            f"pairs.min_weight is {least:g}, and {source} has no weights; name their column in "
            f"data.interactions.weight_column, or leave min_weight out"
        )
    weight = table["weight"].to_numpy()
    return table.filter(pa.array(weight >= least))


def _drawn(user: npt.NDArray[np.int32], most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most `most` rows a user, at random, in their order."""
    draw = np.random.Generator(np.random.Philox(seed)).random(len(user))
    order = np.lexsort((draw, user))
    first = np.flatnonzero(np.diff(user[order], prepend=-1))
    sizes = np.diff(np.append(first, len(user)))
    place = np.arange(len(user)) - np.repeat(first, sizes)
    return np.sort(order[place < most])
