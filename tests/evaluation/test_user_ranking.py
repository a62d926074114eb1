from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.errors import ContractError, SourceError, TrainingError
from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.evaluation.baselines.item_knn import ItemKNNScorer
from pinsage.evaluation.ranking import Rows, Scores
from pinsage.evaluation.user_scorers import (
    EASEUsers,
    EmbeddingUsers,
    ItemKNNUsers,
    PopularityUsers,
)
from pinsage.evaluation.users import UserScorer, UserSplit, evaluate_users, recommend
from pinsage.graph.bipartite import BipartiteGraph

NUM_ITEMS, NUM_USERS = 40, 30
NAMES = ["popularity", "item-kNN", "weighted item-kNN", "EASE", "embeddings"]


@dataclass(frozen=True)
class Table:
    """Scores written down, float32 [U, N]."""

    scores: Scores
    name: str = "table"

    def score(self, user_rows: Rows) -> Scores:
        return self.scores[user_rows]


def graph_of(users: list[set[int]], num_items: int) -> BipartiteGraph:
    item = np.array([i for items in users for i in sorted(items)], dtype=np.int32)
    user = np.repeat(np.arange(len(users)), [len(items) for items in users]).astype(np.int32)
    return BipartiteGraph.from_edges(item, user, num_items=num_items, num_contexts=len(users))


def random_split(seed: int) -> UserSplit:
    """Each user has up to 8 training and 5 test items; the last two items are never seen."""
    rng = np.random.default_rng(seed)
    train, test = [], []
    for _ in range(NUM_USERS):
        items = rng.permutation(NUM_ITEMS - 2)[: rng.integers(2, 14)].tolist()
        cut = min(8, len(items) - 1)
        train.append(set(items[:cut]))
        test.append(set(items[cut:]))
    test[3] = set()
    return UserSplit(graph_of(train, NUM_ITEMS), graph_of(test, NUM_ITEMS))


def items_of(graph: BipartiteGraph, user: int) -> list[int]:
    start, stop = graph.context_indptr[user : user + 2]
    return [int(item) for item in graph.context_indices[start:stop]]


def everyone(split: UserSplit) -> Rows:
    return np.arange(split.train.num_contexts, dtype=np.int32)


@pytest.fixture(scope="module")
def split() -> UserSplit:
    return random_split(1)


@pytest.fixture(scope="module")
def user_scorers(split: UserSplit) -> dict[str, UserScorer]:
    train = split.train
    embeddings = np.random.default_rng(2).standard_normal((NUM_ITEMS, 6)).astype(np.float32)
    every: list[UserScorer] = [
        PopularityUsers(train),
        ItemKNNUsers.of(train, 5, shrink=2.0, weighted_mean=False),
        ItemKNNUsers.of(train, 5, shrink=0.0, weighted_mean=True),
        EASEUsers(EASEScorer.of(train, 3.0, 25), train),
        EmbeddingUsers(embeddings, train),
    ]
    return dict(zip(NAMES, every, strict=True))


@pytest.mark.parametrize("name", NAMES)
class TestEveryUserScorer:
    def test_gives_finite_float32_of_users_by_items(
        self, name: str, user_scorers: dict[str, UserScorer]
    ) -> None:
        scores = user_scorers[name].score(np.array([3, 29, 3], dtype=np.int32))
        assert scores.shape == (3, NUM_ITEMS)
        assert scores.dtype == np.float32
        assert np.isfinite(scores).all()

    def test_a_row_does_not_depend_on_the_other_users(
        self, name: str, split: UserSplit, user_scorers: dict[str, UserScorer]
    ) -> None:
        together = user_scorers[name].score(everyone(split))
        for user in (0, 11, 29):
            alone = user_scorers[name].score(np.array([user], dtype=np.int32))[0]
            # Products of matrices may round differently by shape.
            np.testing.assert_allclose(together[user], alone, rtol=1e-5, atol=1e-6)

    def test_the_number_of_threads_changes_nothing(
        self, name: str, split: UserSplit, user_scorers: dict[str, UserScorer]
    ) -> None:
        threads = numba.get_num_threads()
        many = user_scorers[name].score(everyone(split))
        numba.set_num_threads(1)
        try:
            assert np.array_equal(user_scorers[name].score(everyone(split)), many)
        finally:
            numba.set_num_threads(threads)

    def test_an_empty_block_has_no_rows(
        self, name: str, user_scorers: dict[str, UserScorer]
    ) -> None:
        empty = np.array([], dtype=np.int32)
        assert user_scorers[name].score(empty).shape == (0, NUM_ITEMS)


def test_popularity_counts_the_training_users(split: UserSplit) -> None:
    scores = PopularityUsers(split.train).score(np.array([4], dtype=np.int32))[0]
    for item in range(NUM_ITEMS):
        count = sum(item in items_of(split.train, user) for user in range(NUM_USERS))
        assert scores[item] == count


@pytest.mark.parametrize("weighted_mean", [False, True])
@pytest.mark.parametrize("neighbours", [1, 5, 100])
def test_item_knn_for_users_equals_its_formula(
    split: UserSplit, neighbours: int, weighted_mean: bool
) -> None:
    train = split.train
    rows = np.arange(NUM_ITEMS, dtype=np.int32)
    similarity = ItemKNNScorer(train, 1.0).score(rows).astype(np.float64)
    scores = ItemKNNUsers.of(train, neighbours, shrink=1.0, weighted_mean=weighted_mean).score(
        everyone(split)
    )
    for user in range(NUM_USERS):
        has = set(items_of(train, user))
        for item in range(NUM_ITEMS):
            others = [j for j in range(NUM_ITEMS) if j != item]
            nearest = sorted(others, key=lambda j: (-similarity[item, j], j))[:neighbours]
            weights = {j: similarity[item, j] for j in nearest}
            if weighted_mean:
                total = sum(weights.values()) or 1.0
                mean = train.item_degree / NUM_USERS
                expected = mean[item] + sum(
                    weight * ((j in has) - mean[j]) / total for j, weight in weights.items()
                )
            else:
                expected = sum(weight for j, weight in weights.items() if j in has)
            assert scores[user, item] == pytest.approx(expected, abs=1e-6)


def test_ease_for_users_is_the_product_of_their_items_with_the_weights(split: UserSplit) -> None:
    ease = EASEScorer.of(split.train, 3.0, 25)
    scores = EASEUsers(ease, split.train).score(everyone(split))
    of_items = ease.score(np.arange(NUM_ITEMS, dtype=np.int32))
    for user in range(NUM_USERS):
        expected = of_items[items_of(split.train, user)].sum(axis=0)
        np.testing.assert_allclose(scores[user], expected, atol=1e-6)


def test_a_user_is_the_weighted_mean_of_its_items_vectors() -> None:
    graph = graph_of([{0, 1}, set()], 3)
    embeddings = np.array([[4, 0], [0, 4], [1, 1]], dtype=np.float32)
    plain = EmbeddingUsers(embeddings, graph)
    assert plain.vectors(np.array([0, 1], dtype=np.int32)).tolist() == [[2, 2], [0, 0]]
    assert plain.score(np.array([0], dtype=np.int32)).tolist() == [[8, 8, 4]]
    heavy = EmbeddingUsers(embeddings, graph, np.array([3, 1, 9], dtype=np.float32))
    assert heavy.vectors(np.array([0], dtype=np.int32)).tolist() == [[3, 1]]


def test_training_items_are_left_out_and_ties_go_to_the_smaller_row() -> None:
    train = graph_of([{0, 3}, {1}], 5)
    table = Table(np.array([[9, 1, 2, 9, 2], [5, 9, 5, 5, 6]], dtype=np.float32))
    best = recommend(table, train, np.array([0, 1], dtype=np.int32), 3)
    assert best.tolist() == [[2, 4, 1], [4, 0, 2]]


def test_a_list_longer_than_what_is_left_is_padded_and_padding_is_never_a_hit() -> None:
    train, test = graph_of([{0, 1}], 3), graph_of([{2}], 3)
    table = Table(np.array([[1, 1, 1]], dtype=np.float32))
    assert recommend(table, train, np.array([0], dtype=np.int32), 4).tolist() == [[2, -1, -1, -1]]
    found = evaluate_users(table, UserSplit(train, test), k=4)
    assert found.recall.tolist() == [1.0]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 45), block=st.integers(1, 40))
def test_metrics_equal_brute_force_over_sorted_catalogs(seed: int, k: int, block: int) -> None:
    split = random_split(seed)
    rng = np.random.default_rng(seed)
    levels = rng.integers(0, 6, (NUM_USERS, NUM_ITEMS)).astype(np.float32)  # full of ties
    found = evaluate_users(Table(levels), split, k=k, block=block)
    recalls, ndcgs, users = [], [], []
    for user in range(NUM_USERS):
        wanted = items_of(split.test, user)
        if not wanted:
            continue
        unseen = sorted(set(range(NUM_ITEMS)) - set(items_of(split.train, user)))
        best = sorted(unseen, key=lambda item: (-levels[user, item], item))[:k]
        gains = [1 / math.log2(r + 2) for r, item in enumerate(best) if item in wanted]
        ideal = [1 / math.log2(r + 2) for r in range(min(k, len(wanted)))]
        users.append(user)
        recalls.append(len(gains) / len(wanted))
        ndcgs.append(sum(gains) / sum(ideal))
    assert found.user_row.tolist() == users
    assert found.recall.tolist() == pytest.approx(recalls)
    assert found.ndcg.tolist() == pytest.approx(ndcgs)


def test_scores_that_are_not_finite_are_refused() -> None:
    train, test = graph_of([{0}], 3), graph_of([{1}], 3)
    table = Table(np.array([[1, math.nan, 1]], dtype=np.float32))
    with pytest.raises(TrainingError, match=r"table: expected finite scores.*finite: False"):
        evaluate_users(table, UserSplit(train, test))


def test_nobody_with_a_test_item_is_refused() -> None:
    train, test = graph_of([{0}], 3), graph_of([set()], 3)
    with pytest.raises(ContractError, match="item to be found"):
        evaluate_users(PopularityUsers(train), UserSplit(train, test))


def test_halves_with_different_catalogs_are_refused() -> None:
    with pytest.raises(ContractError, match="number items and users alike"):
        UserSplit(graph_of([{0}], 3), graph_of([{1}], 4))


def test_holding_out_takes_the_share_of_each_users_training_items(split: UserSplit) -> None:
    held = split.hold_out(0.25, seed=3)
    for user in range(NUM_USERS):
        train, valid = set(items_of(held.train, user)), set(items_of(held.test, user))
        assert train | valid == set(items_of(split.train, user))
        assert not train & valid
        assert len(valid) == math.floor(0.25 * (len(train) + len(valid)))
    again, other = split.hold_out(0.25, seed=3), split.hold_out(0.25, seed=4)
    assert np.array_equal(held.test.context_indices, again.test.context_indices)
    assert not np.array_equal(held.test.context_indices, other.test.context_indices)


def write(path: Path, columns: dict[str, list[Any]]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_split_is_read_from_parquet(tmp_path: Path) -> None:
    split = UserSplit.read(
        write(
            tmp_path / "split.parquet",
            {"user": [0, 0, 1, 1], "item": [2, 0, 0, 1], "split": ["train", "test"] * 2},
        )
    )
    assert [items_of(split.train, user) for user in (0, 1)] == [[2], [0]]
    assert [items_of(split.test, user) for user in (0, 1)] == [[0], [1]]
    assert split.train.num_items == split.test.num_items == 3


def test_a_missing_column_another_part_and_an_empty_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no column 'split' \(it has user, item\)"):
        UserSplit.read(write(tmp_path / "a.parquet", {"user": [0], "item": [0]}))
    with pytest.raises(SourceError, match=r"must be train or test \(got \['valid'\]\)"):
        UserSplit.read(
            write(tmp_path / "b.parquet", {"user": [0], "item": [0], "split": ["valid"]})
        )
    with pytest.raises(SourceError, match="expected a row for each user and item"):
        UserSplit.read(write(tmp_path / "c.parquet", {"user": [], "item": [], "split": []}))
