"""Ranks by vectors equal a plain float64 count, whatever the tiles, the device and the rounding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pinsage.errors import TrainingError
from pinsage.evaluation import exact, exact_torch
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.exact import RankBlock, Vectors, error_bound, rank_by_vectors, rank_on_cpu
from pinsage.evaluation.ranking import Ranking, rank_pairs, rank_queries

Pairs = list[tuple[int, int]]


def dot(a: Vectors, b: Vectors) -> float:
    total = 0.0
    for left, right in zip(a.tolist(), b.tolist(), strict=True):
        total += left * right
    return total


def reference(queries: Vectors, items: Vectors, pairs: Pairs) -> list[float]:
    ranks = []
    for query, positive in pairs:
        scores = [dot(queries[query], item) for item in items]
        others = [s for row, s in enumerate(scores) if row not in (query, positive)]
        above = sum(s > scores[positive] for s in others)
        ranks.append(1 + above + sum(s == scores[positive] for s in others) / 2)
    return ranks


def best(queries: Vectors, items: Vectors, query: int) -> list[int]:
    others = [row for row in range(len(items)) if row != query]
    return sorted(others, key=lambda row: (-dot(queries[query], items[row]), row))[:10]


def rank(scorer: EmbeddingScorer, pairs: Pairs) -> Ranking:
    query, positive = (np.array(side, dtype=np.int32) for side in zip(*pairs, strict=True))
    return rank_queries(scorer, query, positive, len(scorer.embeddings), 4)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Vectors, Vectors, Pairs]:
    size, width = draw(st.integers(2, 40)), draw(st.integers(1, 5))
    # Small integers tie exactly and often; thirds are rounded in float32 already.
    cell = st.sampled_from([-1.0, 0.0, 1.0, 2.0, 1 / 3, -2 / 3])
    matrix = arrays(np.float32, (size, width), elements=cell.map(np.float32))
    items = draw(matrix)
    queries = draw(st.one_of(st.just(items), matrix))
    item = st.integers(0, size - 1)
    pair = st.tuples(item, item).filter(lambda two: two[0] != two[1])
    return queries, items, draw(st.lists(pair, min_size=1, max_size=30))


@pytest.mark.parametrize("device", ["cpu", "torch"])
@given(case=cases())
@settings(max_examples=60, deadline=None)
def test_ranks_and_best_items_equal_the_plain_count(
    device: str, case: tuple[Vectors, Vectors, Pairs]
) -> None:
    queries, items, pairs = case
    rows, bounds, query, positive = _grouped(pairs)
    ranker = rank_on_cpu if device == "cpu" else exact_torch.ranker_on("cpu", items)
    ranks, lists = rank_by_vectors(
        queries, items, rows, bounds, positive, top=10, rank_block=ranker, size=3
    )
    assert ranks.tolist() == reference(queries, items, list(zip(query, positive, strict=True)))
    assert lists.tolist() == [best(queries, items, row) for row in rows.tolist()]


@pytest.mark.parametrize("ranker", [rank_on_cpu, None], ids=["cpu", "torch"])
def test_tiles_and_blocks_change_nothing(
    ranker: RankBlock | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(3)
    items = rng.standard_normal((700, 16), dtype=np.float32)
    items[350:] = items[:350]  # each vector twice: every rank is a half
    rows, bounds, _, positive = _grouped([(int(q), int(q + 1) % 700) for q in range(0, 700, 7)] * 3)

    def run(size: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int32]]:
        return rank_by_vectors(
            items, items, rows, bounds, positive,
            top=10, rank_block=ranker or exact_torch.ranker_on("cpu", items), size=size,
            threads=2,
        )  # fmt: skip

    whole, lists = run(512)
    assert (whole % 1 == 0.5).all()
    monkeypatch.setattr(exact, "_TILE_ITEMS", 37)
    monkeypatch.setattr(exact_torch, "_TILE_ITEMS", 37)
    monkeypatch.setattr(exact_torch, "_PAIRS_AT_ONCE", 11)
    again, same = run(13)
    assert again.tolist() == whole.tolist()
    assert same.tolist() == lists.tolist()


def test_collapsed_vectors_rank_in_the_middle_and_show_the_first_rows() -> None:
    scorer = EmbeddingScorer("flat", np.ones((101, 8), dtype=np.float32))
    found = rank(scorer, [(0, 50), (3, 4)])
    assert found.ranks.tolist() == [50.5, 50.5]  # the middle of 100 places
    assert found.top.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 1, 2, 4, 5, 6, 7, 8, 9, 10]]


def test_a_difference_that_float32_cannot_see_decides() -> None:
    # 1 + 2⁻³⁰ rounds to 1 in float32; as a sum of two products it is exact in float64.
    items = np.array([[1, 2**-15], [1, 0], [1, 2**-15]], dtype=np.float32)
    ranks = rank(EmbeddingScorer("close", items), [(0, 1), (0, 2)]).ranks
    assert ranks.tolist() == [2.0, 1.0]


def test_the_dense_path_agrees_where_scores_are_exact_in_float32() -> None:
    rng = np.random.default_rng(5)
    items = rng.integers(-3, 4, size=(60, 6)).astype(np.float32)
    scorer = EmbeddingScorer("integers", items)

    class Dense:
        name = "dense"
        score = staticmethod(scorer.score)

    query = rng.integers(0, 60, size=200).astype(np.int32)
    positive = ((query + rng.integers(1, 60, size=200)) % 60).astype(np.int32)
    dense = rank_pairs(Dense(), query, positive, 60, 7)
    assert rank_pairs(scorer, query, positive, 60, 7).tolist() == dense.tolist()


@given(arrays(np.float32, (4, 33), elements=st.floats(-100, 100, width=32)))
@settings(max_examples=50, deadline=None)
def test_a_float32_product_stays_within_the_error_bound(vectors: Vectors) -> None:
    longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
    bound = error_bound(vectors, longest)
    true = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    assert (np.abs(vectors @ vectors.T - true) <= bound[:, None]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e19])
def test_a_vector_that_cannot_be_ranked_is_named(bad: float) -> None:
    items = np.ones((4, 2), dtype=np.float32)
    items[2, 1] = bad
    with pytest.raises(TrainingError, match=r"broken: expected finite vectors.*item row 2"):
        rank(EmbeddingScorer("broken", items), [(0, 1)])


def _grouped(
    pairs: Pairs,
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], list[int], npt.NDArray[np.int32]]:
    ordered = sorted(pairs, key=lambda pair: pair[0])
    query = [pair[0] for pair in ordered]
    rows, starts = np.unique(np.array(query, dtype=np.int32), return_index=True)
    positive = np.array([pair[1] for pair in ordered], dtype=np.int32)
    return rows, np.append(starts, len(ordered)), query, positive
