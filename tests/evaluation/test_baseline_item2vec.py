from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.content.columns import unit_rows
from pinsage.evaluation.baselines import Evidence
from pinsage.evaluation.baselines.item2vec import ItemVectors, Sequences


def sequences(user: list[int], item: list[int], time: list[int], seed: int = 1) -> Sequences:
    return Sequences.of(np.array(user), np.array(item), np.array(time), max(item) + 1, seed)


def test_a_sequence_is_what_a_user_took_oldest_first() -> None:
    found = sequences([1, 0, 1, 0, 1], [5, 6, 7, 8, 9], [30, 2, 10, 1, 20])
    assert list(found) == [["8", "6"], ["7", "9", "5"]]
    assert list(found) == list(found)  # as often as asked
    assert len(found) == 2


def test_rows_may_come_in_any_order_where_times_differ() -> None:
    rng = np.random.default_rng(1)
    user, item, time = rng.integers(0, 9, 200), rng.integers(0, 50, 200), rng.permutation(200)
    order = rng.permutation(200)
    first = Sequences.of(user, item, time, 50, seed=1)
    second = Sequences.of(user[order], item[order], time[order], 50, seed=2)
    assert list(first) == list(second)


def test_what_was_taken_at_one_moment_stands_in_a_drawn_order() -> None:
    """3,000 baskets of items 0, 1, 2: each order comes 500 times, give or take 5 σ = 102."""
    user = np.repeat(np.arange(3000), 3)
    item = np.tile(np.arange(3), 3000)
    drawn = Sequences.of(user, item, np.zeros(9000, dtype=np.int64), 3, seed=1)
    orders = Counter(tuple(basket) for basket in drawn)
    assert len(orders) == 6
    assert all(abs(count - 500) < 102 for count in orders.values())


def test_a_sequence_longer_than_gensim_reads_is_cut() -> None:
    size = 20_001
    one = Sequences.of(
        np.zeros(size, dtype=np.int64), np.arange(size), np.arange(size), size, seed=1
    )
    assert [len(part) for part in one] == [10_000, 10_000, 1]
    assert [name for part in one for name in part] == [str(row) for row in range(size)]


def test_sequences_come_out_of_a_file_as_out_of_columns(tmp_path: Path) -> None:
    user, item, time = [0, 0, 1], [2, 1, 0], [5, 4, 3]
    table = pa.table({"user_row": user, "item_row": item, "timestamp": time, "weight": [1, 1, 1]})
    pq.write_table(table, tmp_path / "train.parquet")
    read = Sequences.read(tmp_path / "train.parquet", 3, seed=1)
    assert list(read) == list(sequences(user, item, time)) == [["1", "2"], ["0"]]


def test_scores_are_cosines_of_inner_vectors_or_products_with_outer_ones(tastes: Evidence) -> None:
    trained = ItemVectors.train(
        tastes.sequences, dimension=4, window=3, epochs=2, negative_power=0.75, seed=1
    )
    assert trained.known.tolist() == [True] * 8 + [False] * 2
    every, unit = np.arange(10, dtype=np.int32), unit_rows(trained.inner)
    products = {"in-in": unit @ unit.T, "in-out": trained.inner @ trained.outer.T}
    for match, expected in products.items():
        scores = trained.scorer({"match": match}).score(every)
        np.testing.assert_allclose(scores[:8, :8], expected[:8, :8], rtol=1e-5, atol=1e-6)
        assert len(set(scores[0, 8:].tolist())) == 1


def test_in_out_knows_what_comes_next_to_the_query_and_in_in_what_is_taken_like_it() -> None:
    """Everybody takes 0 or 1, then 2: 0 and 1 are alike, but never stand together."""
    user = np.repeat(np.arange(400), 2)
    item = np.stack([np.arange(400) % 2, np.full(400, 2)], axis=1).ravel()
    pairs = Sequences.of(user, item, np.tile([1, 2], 400), 3, seed=1)
    trained = ItemVectors.train(pairs, dimension=4, window=1, epochs=10, negative_power=0.0, seed=1)
    zero = np.array([0], dtype=np.int32)
    around = trained.scorer({"match": "in-out"}).score(zero)[0]
    alike = trained.scorer({"match": "in-in"}).score(zero)[0]
    assert around[2] > around[1]
    assert alike[1] > alike[2]
