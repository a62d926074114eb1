from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.errors import ContractError, TrainingError
from pinsage.evaluation.ranking import Rows, Scores, rank_pairs, rank_queries


@dataclass
class TableScorer:
    """Reads scores from a table; remembers which queries it was asked for."""

    table: Scores
    asked: list[int] = field(default_factory=list)
    name: str = "table"

    def score(self, query_rows: Rows) -> Scores:
        self.asked += query_rows.tolist()
        return self.table[query_rows]


def rows(*values: int) -> Rows:
    return np.array(values, dtype=np.int32)


def reference_rank(scores: list[float], query: int, positive: int) -> float:
    others = [scores[i] for i in range(len(scores)) if i not in (query, positive)]
    above = sum(1 for score in others if score > scores[positive])
    equal = sum(1 for score in others if score == scores[positive])
    return 1 + above + equal / 2


@st.composite
def ranking_cases(
    draw: st.DrawFn,
) -> tuple[list[list[float]], list[tuple[int, int]], int]:
    num_items = draw(st.integers(2, 12))
    # Few distinct values: ties everywhere, with the query and among the rest.
    score = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
    table = draw(
        st.lists(
            st.lists(score, min_size=num_items, max_size=num_items),
            min_size=num_items,
            max_size=num_items,
        )
    )
    item = st.integers(0, num_items - 1)
    pair = st.tuples(item, item).filter(lambda two: two[0] != two[1])
    return table, draw(st.lists(pair, min_size=1, max_size=20)), draw(st.integers(1, 5))


@given(ranking_cases())
@settings(max_examples=60, deadline=None)
def test_ranks_and_top_equal_the_plain_count(
    case: tuple[list[list[float]], list[tuple[int, int]], int],
) -> None:
    table, pairs, block = case
    scorer = TableScorer(np.array(table, dtype=np.float32))
    query, positive = (np.array(side, dtype=np.int32) for side in zip(*pairs, strict=True))
    found = rank_queries(scorer, query, positive, len(table), block)
    assert found.ranks.tolist() == [reference_rank(table[q], q, p) for q, p in pairs]
    for q, top in zip(found.query_row.tolist(), found.top.tolist(), strict=True):
        others = [item for item in range(len(table)) if item != q]
        assert top == sorted(others, key=lambda item: (-table[q][item], item))[:10]


@given(ranking_cases())
@settings(max_examples=20, deadline=None)
def test_every_distinct_query_is_scored_once(
    case: tuple[list[list[float]], list[tuple[int, int]], int],
) -> None:
    table, pairs, block = case
    scorer = TableScorer(np.array(table, dtype=np.float32))
    query, positive = (np.array(side, dtype=np.int32) for side in zip(*pairs, strict=True))
    rank_pairs(scorer, query, positive, len(table), block)
    assert sorted(scorer.asked) == sorted({q for q, _ in pairs})


def test_equal_scores_everywhere_rank_in_the_middle() -> None:
    scorer = TableScorer(np.zeros((5, 5), dtype=np.float32))
    # Four candidates without the query: places 1 to 4, their middle is 2.5.
    assert rank_pairs(scorer, rows(0), rows(3), 5, 8).tolist() == [2.5]


def test_the_querys_own_score_does_not_count() -> None:
    scorer = TableScorer(np.array([[9, 1, 2], [0, 0, 0], [0, 0, 0]], dtype=np.float32))
    assert rank_pairs(scorer, rows(0, 0), rows(2, 1), 3, 8).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_an_error_naming_scorer_and_place(bad: float) -> None:
    table = np.zeros((4, 4), dtype=np.float32)
    table[2, 1] = bad
    with pytest.raises(TrainingError, match=r"table: expected finite.*query row 2 and item row 1"):
        rank_pairs(TableScorer(table), rows(0, 2), rows(1, 3), 4, 8)


def test_scores_of_another_shape_are_an_error() -> None:
    with pytest.raises(TrainingError, match=r"shape \(1, 3\).*got \(1, 4\)"):
        rank_pairs(TableScorer(np.zeros((4, 4), dtype=np.float32)), rows(0), rows(1), 3, 8)


def test_rows_outside_the_catalog_are_an_error() -> None:
    scorer = TableScorer(np.zeros((3, 3), dtype=np.float32))
    with pytest.raises(ContractError, match="positive_row: expected rows of a catalog of 3 items"):
        rank_pairs(scorer, rows(0), rows(3), 3, 8)


def test_an_item_is_not_ranked_for_itself() -> None:
    scorer = TableScorer(np.zeros((3, 3), dtype=np.float32))
    with pytest.raises(ContractError, match="1 pairs have their own query"):
        rank_pairs(scorer, rows(0, 1), rows(2, 1), 3, 8)


def test_no_pair_gives_no_rank() -> None:
    scorer = TableScorer(np.zeros((3, 3), dtype=np.float32))
    assert len(rank_pairs(scorer, rows(), rows(), 3, 8)) == 0
