"""What is trained on: weights by distance and age, caps, and a share of the contexts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import PairsConfig
from pinsage.data.pairs import Pairs
from pinsage.errors import TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.training.pairs import pair_weights, sub_graph, training_pairs

DAY_US = 86_400_000_000


@pytest.fixture
def histories(tmp_path: Path) -> Path:
    """200 users who take items 0 to 9 one day after the other; odd ones weakly."""
    user, item = np.repeat(np.arange(200), 10), np.tile(np.arange(10), 200)
    columns: list[pa.Array[Any]] = [
        pa.array(user, pa.int32()),
        pa.array(item, pa.int32()),
        pa.array(item * DAY_US, pa.int64()),
        pa.array(1.0 - 0.5 * (item % 2), pa.float32()),
    ]
    path = tmp_path / "train.parquet"
    pq.write_table(pa.table(columns, ["user_row", "item_row", "timestamp", "weight"]), path)
    return path


def of(distance: list[int], age_days: list[float]) -> Pairs:
    rows = np.zeros(len(distance), dtype=np.int32)
    time = (100 * DAY_US - np.array(age_days) * DAY_US).astype(np.int64)
    return Pairs(rows, rows, rows, time, np.array(distance, dtype=np.int32))


def test_a_pair_two_apart_weighs_the_decay() -> None:
    weight = pair_weights(of([1, 2, 3], [0, 0, 0]), PairsConfig(window=3, decay=0.5))
    assert (weight / weight[0]).tolist() == pytest.approx([1, 0.5, 0.25])
    assert weight.mean() == pytest.approx(1)


def test_a_pair_as_old_as_the_half_life_weighs_half() -> None:
    weight = pair_weights(of([1, 1, 1], [0, 30, 60]), PairsConfig(half_life_days=30))
    assert (weight / weight[0]).tolist() == pytest.approx([1, 0.5, 0.25])


def test_all_pairs_weigh_one_by_default() -> None:
    assert pair_weights(of([1, 1], [0, 500]), PairsConfig()).tolist() == [1.0, 1.0]


def test_pairs_go_backward_at_a_share_of_their_weight(histories: Path) -> None:
    config = PairsConfig(window=2, decay=0.5)
    forth = training_pairs(histories, config, seed=1)
    both = training_pairs(histories, config.model_copy(update={"backward": 0.25}), seed=1)
    size = len(forth)
    assert len(both) == 2 * size
    assert (both.pairs.query_row[size:] == forth.pairs.positive_row).all()
    assert (both.pairs.positive_row[size:] == forth.pairs.query_row).all()
    assert (both.pairs.user_row[size:] == forth.pairs.user_row).all()
    assert both.weight[size:].tolist() == pytest.approx((both.weight[:size] / 4).tolist())
    assert both.weight[:size].tolist() == pytest.approx((forth.weight * 1.6).tolist())
    assert both.weight.mean() == pytest.approx(1)


@pytest.mark.parametrize("equal_times", ["both", "drop"])
def test_pairs_of_one_moment_go_both_ways_or_are_left_out(
    tmp_path: Path, equal_times: Literal["both", "drop"]
) -> None:
    """One user takes 0 and 1 at one moment, and 2 and 3 a day later."""
    item = np.arange(4)
    columns: list[pa.Array[Any]] = [
        pa.array(np.zeros(4, dtype=np.int32)),
        pa.array(item, pa.int32()),
        pa.array(item // 2 * DAY_US, pa.int64()),
    ]
    pq.write_table(pa.table(columns, ["user_row", "item_row", "timestamp"]), tmp_path / "t.parquet")
    config = PairsConfig(window=3, equal_times=equal_times)
    pairs = training_pairs(tmp_path / "t.parquet", config, seed=1).pairs
    found = set(zip(pairs.query_row.tolist(), pairs.positive_row.tolist(), strict=True))
    later = {(0, 2), (0, 3), (1, 2), (1, 3)}
    together = {(0, 1), (1, 0), (2, 3), (3, 2)}
    assert found == (later | together if equal_times == "both" else later)


def test_a_user_gives_no_more_pairs_than_the_cap_whichever_they_are(histories: Path) -> None:
    capped = training_pairs(histories, PairsConfig(per_user=4), seed=1)
    assert np.bincount(capped.pairs.user_row).tolist() == [4] * 200
    # 800 of 1,800 pairs are drawn, each of the nine steps about as often as the others.
    by_step = np.bincount(capped.pairs.query_row, minlength=9)
    assert by_step.max() - by_step.min() < 60
    again = training_pairs(histories, PairsConfig(per_user=4), seed=2)
    assert not np.array_equal(again.pairs.query_row, capped.pairs.query_row)


def test_a_weak_interaction_is_in_no_pair_and_is_skipped_over(histories: Path) -> None:
    strong = training_pairs(histories, PairsConfig(min_weight=0.75), seed=1).pairs
    first = strong.user_row == 0
    assert strong.query_row[first].tolist() == [0, 2, 4, 6]
    assert strong.positive_row[first].tolist() == [2, 4, 6, 8]


def test_a_least_weight_needs_weights(histories: Path) -> None:
    pq.write_table(pq.read_table(histories).drop_columns("weight"), histories)
    with pytest.raises(TrainingError, match=r"has no weights.*data\.interactions\.weight_column"):
        training_pairs(histories, PairsConfig(min_weight=1.0), seed=1)


def test_a_share_of_the_contexts_is_the_same_in_pairs_and_graph(histories: Path) -> None:
    table = pq.read_table(histories)
    whole = BipartiteGraph.from_edges(
        table["item_row"].to_numpy(), table["user_row"].to_numpy(), num_items=10, num_contexts=200
    )
    part = sub_graph(whole, 0.3, seed=1)
    chosen = np.flatnonzero(np.diff(part.context_indptr))
    pairs = training_pairs(histories, PairsConfig(context_share=0.3), seed=1).pairs
    assert sorted(set(pairs.user_row.tolist())) == chosen.tolist()
    assert 40 < len(chosen) < 80
    assert set(np.diff(part.context_indptr).tolist()) == {0, 10}, "a context is whole or absent"
