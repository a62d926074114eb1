"""Stand-ins of items that nobody has taken, against dictionaries and float64."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as few
from hypothesis import strategies as st

from pinsage.config import FeatureKind, ItemsConfig, NeighbourhoodConfig
from pinsage.content import stand_ins as module
from pinsage.content.stand_ins import (
    StandIns,
    find_stand_ins,
    newcomers_with_stand_ins,
    with_stand_ins,
    write_with_stand_ins,
)
from pinsage.errors import GraphError, TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods
from pinsage.model.features import FeatureSpec
from pinsage.store import Workspace

KINDS: dict[str, FeatureKind] = {"genre": "multicategorical", "maker": "categorical"}
DECLARED = ItemsConfig(path="items.csv", features=KINDS)
WALKS = NeighbourhoodConfig(size=4, walks=30, by_content=2)
Cell = tuple[str | None, str | None]
Bag = dict[str, float]


def cosine_of(catalog: list[Cell], counted: list[bool]) -> Callable[[int, int], float]:
    """The definition: a column is a block of length 1, rarity is counted among some items."""
    blocks: list[list[Bag]] = []
    for column in zip(*catalog, strict=True):
        bags = [set(cell.split("|")) - {""} if cell else set() for cell in column]
        having = Counter(t for bag, is_in in zip(bags, counted, strict=True) if is_in for t in bag)
        rarity = {
            t: math.log(1 + (sum(counted) or 1) / max(having[t], 1)) for bag in bags for t in bag
        }
        lengths = [math.sqrt(math.fsum(rarity[t] ** 2 for t in bag)) for bag in bags]
        blocks.append(
            [{t: rarity[t] / n for t in bag} for bag, n in zip(bags, lengths, strict=True)]
        )

    def cosine(one: int, other: int) -> float:
        shared = math.fsum(
            worth * column[other].get(term, 0.0)
            for column in blocks
            for term, worth in column[one].items()
        )
        said = [sum(bool(column[item]) for column in blocks) for item in (one, other)]
        return shared / math.sqrt(said[0] * said[1]) if all(said) else 0.0

    return cosine


def stand_ins_of(
    catalog: list[Cell], degree: list[int], settings: NeighbourhoodConfig
) -> tuple[list[int], StandIns]:
    rows = [row for row, count in enumerate(degree) if count == 0]
    items = pd.DataFrame(catalog, columns=list(KINDS), dtype=object)
    found = find_stand_ins(
        items, KINDS, np.array(rows, np.int64), np.array(degree), settings, separator="|"
    )
    return rows, found


genres = st.lists(st.sampled_from("abcde"), max_size=3).map("|".join)
makers = st.sampled_from(["x", "y", None])


@few(max_examples=150, deadline=None)
@given(
    rest=st.lists(st.tuples(st.tuples(genres, makers), st.integers(0, 3)), max_size=12),
    num_kept=st.integers(1, 5),
    contexts=st.integers(1, 3),
)
def test_stand_ins_are_the_most_alike_of_those_with_enough_contexts(
    rest: list[tuple[Cell, int]], num_kept: int, contexts: int
) -> None:
    catalog: list[Cell] = [("a|b", "x"), *(cell for cell, _ in rest)]
    degree = [1, *(count for _, count in rest)]
    settings = NeighbourhoodConfig(size=9, by_content=num_kept, by_content_contexts=contexts)
    cold, found = stand_ins_of(catalog, degree, settings)
    cosine = cosine_of(catalog, [count >= contexts for count in degree])
    for at, item in enumerate(cold):
        alike = {
            other: cosine(item, other)
            for other, count in enumerate(degree)
            if count >= contexts and cosine(item, other) > 0
        }
        kept = found.neighbors[at][found.neighbors[at] >= 0].tolist()
        best = sorted(alike.values(), reverse=True)[:num_kept]
        assert len(set(kept)) == len(best)
        np.testing.assert_allclose([alike[other] for other in kept], best, rtol=1e-5)
        weights = [each / math.fsum(best) for each in best]
        np.testing.assert_allclose(found.weights[at, : len(kept)], weights, rtol=1e-5)
        log_degree = math.fsum(
            alike[other] * math.log1p(degree[other]) for other in kept
        ) / (math.fsum(best) or 1.0)  # fmt: skip
        assert found.degree[at] == pytest.approx(math.expm1(log_degree), rel=1e-5)
        for other in kept:  # of equals, the smaller rows
            equals = [row for row in alike if catalog[row] == catalog[other]]
            assert (
                equals[: equals.index(other)]
                == [row for row in kept if row in equals][: equals.index(other)]
            )


def test_a_stand_in_lends_its_degree_by_its_weight() -> None:
    """Of two stand-ins just as much alike, with 1 and 7 contexts: log1p is log 2 and 3 log 2."""
    _, found = stand_ins_of([("a", "x"), ("a", "x"), ("a", "x")], [1, 7, 0], WALKS)
    assert found.neighbors.tolist() == [[0, 1]]
    assert found.weights.tolist() == [[0.5, 0.5]]
    assert found.degree[0] == pytest.approx(3)  # exp(2 log 2) − 1


def test_items_with_few_contexts_do_not_stand_in() -> None:
    chosen = WALKS.model_copy(update={"by_content_contexts": 5})
    _, found = stand_ins_of([("a", "x"), ("a", "y"), ("a", "x")], [4, 5, 0], chosen)
    assert found.neighbors.tolist() == [[1, -1]]
    _, nobody = stand_ins_of([("a", "x"), ("a", "x")], [4, 0], chosen)
    assert (nobody.neighbors.tolist(), nobody.degree.tolist()) == ([[-1, -1]], [0.0])


def test_an_item_without_content_keeps_no_neighbour() -> None:
    _, found = stand_ins_of([("a", "x"), (None, None), ("b", "y")], [2, 0, 0], WALKS)
    assert found.neighbors.tolist() == [[-1, -1]] * 2
    assert not found.weights.any()
    assert not found.degree.any()


def big_catalog() -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    rng = np.random.default_rng(4)
    items = pd.DataFrame(
        {
            "genre": ["|".join(rng.choice(list("abcdefgh"), 3)) for _ in range(300)],
            "year": rng.integers(1950, 2020, 300),
            "title": [f"tale {n % 40} of {n % 7}" for n in range(300)],
        }
    )
    return items, rng.integers(0, 4, 300)


BIG: dict[str, FeatureKind] = {"genre": "multicategorical", "year": "numerical", "title": "text"}


def find_big(items: pd.DataFrame, degree: np.ndarray[Any, np.dtype[np.int64]]) -> StandIns:
    rows = np.flatnonzero(degree == 0)
    return find_stand_ins(items, BIG, rows, degree, WALKS, separator="|")


def assert_same(left: StandIns, right: StandIns) -> None:
    for name in ("neighbors", "weights", "degree"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = find_big(*big_catalog())
    assert len(whole.degree) > 50
    monkeypatch.setattr(module, "_MAX_COSINES", 7 * 300)
    assert_same(whole, find_big(*big_catalog()))


def test_threads_change_nothing(numba_threads: Callable[[int], None]) -> None:
    numba_threads(1)
    alone = find_big(*big_catalog())
    numba_threads(2)
    assert_same(alone, find_big(*big_catalog()))


def test_new_items_change_no_other_items_stand_ins() -> None:
    items, degree = big_catalog()
    more = items.iloc[:2].assign(genre="never|seen|a", year=3000, title="words unheard of")
    before = find_big(items, degree)
    after = find_big(pd.concat([items, more], ignore_index=True), np.append(degree, [0, 0]))
    assert_same(before, StandIns(after.neighbors[:-2], after.weights[:-2], after.degree[:-2]))
    assert (after.neighbors[-2:] >= 0).all()


# Items 0 and 1 share a context, 2 is alone in its own, nobody has taken 3, 4 and 5.
GRAPH = BipartiteGraph.from_edges(
    np.array([0, 1, 2], np.int32), np.array([0, 0, 1], np.int32), num_items=6, num_contexts=2
)
ITEMS = pd.DataFrame(
    {"genre": ["a", "b", "a|b", "a", None, "b"], "maker": ["x", "y", "y", "x", None, None]}
)


def test_only_rows_of_items_that_nobody_has_taken_are_filled() -> None:
    walked = build_neighbourhoods(GRAPH, WALKS, 1)
    filled = with_stand_ins(walked, GRAPH, ITEMS, DECLARED, WALKS)
    for name in ("neighbors", "weights"):
        before, after = getattr(walked, name), getattr(filled, name)
        assert before[:3].tobytes() == after[:3].tobytes()
        assert before.dtype == after.dtype
    assert filled.neighbors[2:].tolist() == [[-1] * 4, [0, 2, -1, -1], [-1] * 4, [1, 2, -1, -1]]
    assert filled.degree is not None
    assert filled.degree[[0, 1, 2, 4]].tolist() == [1, 1, 1, 0]
    assert filled.degree[[3, 5]] == pytest.approx([1, 1])
    np.testing.assert_allclose(filled.weights.sum(axis=1), [1, 1, 0, 1, 0, 1], atol=1e-6)


def test_what_is_written_opens_again_with_its_degree(tmp_path: Path) -> None:
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    GRAPH.save(tmp_path)
    ITEMS.to_parquet(tmp_path / "items.parquet")
    work = Workspace(out, scratch, "key")
    facts = write_with_stand_ins(tmp_path, tmp_path, DECLARED, WALKS, 1, work)
    table = Neighbourhoods.open(out)
    expected = with_stand_ins(build_neighbourhoods(GRAPH, WALKS, 1), GRAPH, ITEMS, DECLARED, WALKS)
    np.testing.assert_array_equal(table.neighbors, expected.neighbors)
    np.testing.assert_array_equal(table.shown_degree(GRAPH), expected.shown_degree(GRAPH))
    assert (facts["num_without_neighbours"], facts["num_by_content"]) == (2, 2)


@pytest.mark.parametrize("together", [[[0, 2, 3]], [[0], [2], [3]]], ids=["all", "one by one"])
def test_newcomers_have_the_rows_of_a_catalog_that_holds_them(together: list[list[int]]) -> None:
    """A genre that is new, no maker, nothing; the second has a user, and is left alone."""
    new = pd.DataFrame(
        {"genre": ["a|z", "b", "b|c", None], "maker": ["y", "x", None, None]}, dtype=object
    )
    degree = np.array([0, 1, 0, 0])
    spec = FeatureSpec.fit(ITEMS, GRAPH.item_degree, KINDS, separator="|", text_buckets=8)
    near = Neighbourhoods(np.full((4, 4), -1, np.int32), np.zeros((4, 4), np.float32))
    found = newcomers_with_stand_ins(near, degree, new, GRAPH, ITEMS, spec, WALKS)
    for which in together:
        grown = BipartiteGraph.from_edges(
            np.array([0, 1, 2], np.int32), np.array([0, 0, 1], np.int32),
            num_items=6 + len(which), num_contexts=2,
        )  # fmt: skip
        enlarged = pd.concat([ITEMS, new.iloc[which]], ignore_index=True)
        walked = build_neighbourhoods(grown, WALKS, 1)
        whole = with_stand_ins(walked, grown, enlarged, DECLARED, WALKS)
        np.testing.assert_array_equal(found.neighbors[which], whole.neighbors[6:])
        np.testing.assert_array_equal(found.weights[which], whole.weights[6:])
        assert found.degree is not None
        assert whole.degree is not None
        np.testing.assert_array_equal(found.degree[which], whole.degree[6:])
    assert found.neighbors[1].tolist() == [-1] * 4
    assert found.degree is not None
    assert found.degree[1] == 1
    assert (found.neighbors[0] >= 0).sum() == 2


def test_a_catalog_of_other_items_is_refused() -> None:
    table = build_neighbourhoods(GRAPH, WALKS, 1)
    with pytest.raises(GraphError, match=r"the catalog has 5 items and the graph 6; build"):
        with_stand_ins(table, GRAPH, ITEMS[:5], DECLARED, WALKS)


def test_a_column_that_is_not_there_is_named() -> None:
    table = build_neighbourhoods(GRAPH, WALKS, 1)
    with pytest.raises(TrainingError, match="the catalog has no column 'maker'"):
        with_stand_ins(table, GRAPH, ITEMS.drop(columns="maker"), DECLARED, WALKS)
