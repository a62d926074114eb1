"""Champion against challenger: relative changes on the same pairs, by paired bootstrap over users.

Whole users are drawn, and both models and all slices share the draws: a replicate of a change is
the ratio of the two models' sums over the same users, less 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pinsage.config import Config, GateConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import ArtifactError
from pinsage.evaluation.bootstrap import Array, Clusters, Interval, Ratios
from pinsage.evaluation.metrics import (
    PairValues,
    Ranks,
    headline_metric,
    hits,
    reciprocal_ranks,
    usable_ks,
)
from pinsage.evaluation.slices import ALL, TIME, Mask, Part
from pinsage.evaluation.slices import POPULARITY as TENTHS
from pinsage.evaluation.stage import MODEL
from pinsage.promotion.evidence import Change, Comparison, SliceChange

_PAIR = ("user_row", "query_row", "positive_row")


@dataclass(frozen=True)
class Judged:
    """The pairs of the test period and what methods make of them, float64 [P] each."""

    pairs: Pairs
    ranks: Mapping[str, Ranks]


def read_judged(evaluated: Path) -> Judged:
    """The test period of an evaluation's ranks.parquet, by method."""
    table = pq.read_table(evaluated)
    test = table.filter(pc.field("period") == "test")
    ranks = {
        name: test[name].to_numpy()
        for name in test.column_names
        if name not in ("period", "timestamp", *_PAIR)
    }
    return Judged(_pairs(test), ranks)


def read_champion(ranks: Path, judged: Judged) -> Ranks:
    """The champion's rank of every pair of `judged`, float64 [P].

    Raises ArtifactError where it ranked other pairs.
    """
    table = pq.read_table(ranks)
    pairs = _pairs(table)
    same = all(np.array_equal(getattr(pairs, name), getattr(judged.pairs, name)) for name in _PAIR)
    if not same:
        raise ArtifactError(
            f"{ranks}: holds {len(pairs):,} pairs where the evaluation has "
            f"{len(judged.pairs):,}, or others, so the two cannot be compared; rank the champion "
            f"on the split and the graph that were evaluated"
        )
    return table["rank"].to_numpy()


def changes(
    new: Ranks,
    old: Ranks,
    user_row: npt.NDArray[np.int32],
    masks: Mapping[Part, Mask],
    metrics: Sequence[str],
    policy: GateConfig,
    seed: int,
) -> dict[tuple[Part, str], Change | None]:
    """The relative change of each metric in each slice; None where the old has nothing to lose.

    `new` and `old` are ranks of the same pairs, float64 [P]; `masks` are bool [P] each.
    """
    clusters = Clusters.of(user_row)
    keys = [(part, metric) for part in masks for metric in metrics]
    sums = [
        clusters.sums(values_of(metric, ranks) * masks[part])
        for part, metric in keys
        for ranks in (new, old)
    ]
    places = {part: place for place, part in enumerate(masks)}
    ratios = Ratios(
        sums=np.stack(sums, axis=1),
        counts=np.stack([clusters.sums(mask) for mask in masks.values()], axis=1),
        group=np.repeat([places[part] for part, _ in keys], 2),
    )
    values, drawn = ratios.estimate(), ratios.bootstrap(policy.resamples, seed)
    return {
        (part, metric): _change(
            metric,
            values[2 * at : 2 * at + 2],
            drawn[:, 2 * at : 2 * at + 2],
            policy.confidence,
            num_pairs=int(masks[part].sum()),
            num_users=len(np.unique(user_row[masks[part]])),
        )
        for at, (part, metric) in enumerate(keys)
    }


def values_of(metric: str, ranks: Ranks) -> PairValues:
    """A metric of every pair, float64 [P]: `hit_rate_<K>` or `mrr`."""
    if metric == "mrr":
        return reciprocal_ranks(ranks)
    return hits(ranks, int(metric.removeprefix("hit_rate_")))


def compare(
    config: Config,
    judged: Judged,
    champion: Ranks | None,
    masks: Mapping[Part, Mask],
    *,
    num_items: int,
    version: str,
    no_champion: str,
    is_same_model: bool,
) -> Comparison:
    """Everything that ranks say; `champion` are the champion's, None with the reason instead."""
    policy = config.gate
    hit_rate = headline_metric(usable_ks(config.evaluation.ks, num_items))
    order = (hit_rate, "mrr") if policy.metric == "hit_rate" else ("mrr", hit_rate)
    baseline = _baseline(config, judged)
    user, new = judged.pairs.user_row, judged.ranks[MODEL]
    seen = {part: mask for part, mask in masks.items() if part.dimension not in (TENTHS, TIME)}
    rivals = changes(new, judged.ranks[baseline], user, {ALL: masks[ALL]}, order, policy,
                     config.seed)  # fmt: skip
    found: dict[tuple[Part, str], Change | None] = {}
    if champion is not None:
        some = {part: mask for part, mask in seen.items() if mask.any()}
        found = changes(new, champion, user, some, order, policy, config.seed)
    slices = tuple(
        SliceChange(part.dimension, part.label, change)
        for (part, metric), change in found.items()
        if part != ALL and metric == order[0] and change is not None
    )
    nothing = "the champion finds no pair of the window"
    primary = found.get((ALL, order[0]))
    return Comparison(
        champion=version if primary else "",
        no_champion="" if primary else no_champion or nothing,
        is_same_model=is_same_model,
        primary=primary,
        beside=found.get((ALL, order[1])),
        slices=slices,
        baseline=baseline,
        against_baseline=rivals[ALL, order[0]],
    )


def _change(
    metric: str,
    values: Array,
    drawn: Array,
    confidence: float,
    *,
    num_pairs: int,
    num_users: int,
) -> Change | None:
    new, old = map(float, values)
    if not old > 0:
        return None
    below = drawn[:, 1]
    relative = np.divide(drawn[:, 0], below, out=np.full(len(drawn), np.nan), where=below > 0) - 1
    interval = Interval.of(new / old - 1.0, relative, confidence)
    error = float(np.nanstd(relative))
    return Change(
        metric, old, new, interval.value, interval.low, interval.high, error, num_pairs, num_users
    )


def _baseline(config: Config, judged: Judged) -> str:
    wanted = config.gate.baseline
    if wanted in judged.ranks:
        return wanted
    return next(name for name in judged.ranks if name != MODEL)


def _pairs(table: pa.Table) -> Pairs:
    user, query, positive = (table[name].to_numpy() for name in _PAIR)
    return Pairs(user, query, positive, table["timestamp"].to_numpy())
