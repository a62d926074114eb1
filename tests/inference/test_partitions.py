"""Plans of parts, beside the same by plain loops over sets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.errors import GraphError
from pinsage.inference.partitions import (
    Order,
    block_bounds,
    count_rows,
    locality_order,
    need_of,
    placed_neighbors,
)
from pinsage.inference.volume import pulled_rows, pushed_rows

Table = npt.NDArray[np.int32]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    num_items = draw(st.integers(1, 200))
    size = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return rng.integers(-1, num_items, (num_items, size), dtype=np.int32)


def weights_of(neighbors: Table) -> npt.NDArray[np.float32]:
    return np.random.default_rng(3).random(neighbors.shape, dtype=np.float32) * (neighbors >= 0)


@given(st.integers(0, 1000), st.integers(1, 50))
def test_blocks_are_contiguous_and_equal_up_to_one(num_items: int, parts: int) -> None:
    bounds = block_bounds(num_items, parts)
    sizes = np.diff(bounds)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, num_items, parts + 1)
    assert sizes.max() - sizes.min() <= 1


@settings(deadline=None)
@given(tables(), st.integers(1, 9), st.sampled_from([0.3, 0.9, np.inf]))
def test_a_need_is_the_sorted_set_of_neighbours_cut_at_the_sources(
    neighbors: Table, parts: int, whole_from: float
) -> None:
    bounds = block_bounds(len(neighbors), parts)
    rows = np.random.default_rng(0).permutation(len(neighbors)).astype(np.int32)
    order = Order.of(rows)
    for part in range(parts):
        start, stop = int(bounds[part]), int(bounds[part + 1])
        need = need_of(placed_neighbors(neighbors, order, start, stop), bounds, whole_from)
        table = [[int(order.places[v]) if v >= 0 else -1 for v in neighbors[u]]
                 for u in rows[start:stop]]  # fmt: skip
        expected = {v for row in table for v in row if v >= 0}
        for first, last in pairwise(bounds.tolist()):
            block = set(range(first, last))
            if len(block & expected) >= whole_from * len(block):
                expected |= block
        assert need.places.tolist() == sorted(expected)
        back = [[int(need.places[k]) if k >= 0 else -1 for k in row] for row in need.local]
        assert back == table
        for source in range(parts):
            span = need.places[need.cuts[source] : need.cuts[source + 1]]
            assert all(bounds[source] <= place < bounds[source + 1] for place in span)
        assert need.cuts[-1] == len(need.places)


@settings(deadline=None)
@given(tables(), st.integers(1, 9))
def test_rows_that_travel_are_counted_as_a_loop_counts_them(neighbors: Table, parts: int) -> None:
    order = Order.of(np.random.default_rng(1).permutation(len(neighbors)).astype(np.int32))
    bounds = block_bounds(len(neighbors), parts)

    def part(row: int) -> int:
        place = order.places[row]
        return next(p for p in range(parts) if bounds[p] <= place < bounds[p + 1])

    edges = [(u, int(v)) for u, row in enumerate(neighbors) for v in row if v >= 0]
    pulled = {(part(u), v) for u, v in edges if part(u) != part(v)}
    pushed = {(u, part(v)) for u, v in edges if part(u) != part(v)}
    assert count_rows(neighbors, order, parts) == (len(pulled), len(pushed))


def test_the_formulas_say_what_random_neighbours_come_to() -> None:
    rng = np.random.default_rng(5)
    num_items, size, parts = 4000, 20, 10
    neighbors = rng.integers(0, num_items, (num_items, size), dtype=np.int32)
    pulled, pushed = count_rows(neighbors, Order.catalog(num_items), parts)
    indegree = np.bincount(neighbors.ravel(), minlength=num_items)
    away = 1 - 1 / parts
    assert pulled == pytest.approx(away * pulled_rows(indegree, parts), rel=0.01)
    assert pushed == pytest.approx(away * pushed_rows(np.full(num_items, size), parts), rel=0.01)
    # By hand: an item of one neighbour is sent once; one of very many to all parts.
    assert pulled_rows(np.array([1]), 7) == pytest.approx(1)
    assert pulled_rows(np.array([10**9]), 7) == pytest.approx(7)


def test_one_part_sends_nothing() -> None:
    neighbors = np.array([[1, 2], [0, -1], [1, -1]], dtype=np.int32)
    assert count_rows(neighbors, Order.catalog(3), 1) == (0, 0)


@settings(deadline=None)
@given(tables())
def test_an_order_by_locality_is_a_permutation_and_always_the_same(neighbors: Table) -> None:
    order = locality_order(neighbors, weights_of(neighbors))
    assert sorted(order.rows.tolist()) == list(range(len(neighbors)))
    np.testing.assert_array_equal(order.rows[order.places], np.arange(len(neighbors)))
    again = locality_order(neighbors, weights_of(neighbors))
    np.testing.assert_array_equal(order.rows, again.rows)


def test_communities_that_the_catalog_scatters_are_put_together() -> None:
    """Row r belongs to community r mod 10, and nine in ten neighbours are of one's own."""
    rng = np.random.default_rng(2)
    num_items, size, communities = 2000, 10, 10
    own = np.arange(num_items)[:, None] % communities
    members = rng.integers(0, num_items // communities, (num_items, size)) * communities + own
    anybody = rng.integers(0, num_items, (num_items, size))
    neighbors = np.where(rng.random((num_items, size)) < 0.9, members, anybody).astype(np.int32)
    found = locality_order(neighbors, np.full(neighbors.shape, 1 / size, dtype=np.float32))
    planted = Order.of(np.argsort(own[:, 0], kind="stable").astype(np.int32))
    scattered, near, best = (
        count_rows(neighbors, order, 20)[0] for order in (Order.catalog(num_items), found, planted)
    )
    assert near < 0.5 * scattered
    assert near < 1.3 * best


def test_a_neighbour_beyond_the_last_item_is_refused() -> None:
    neighbors = np.array([[1], [3], [0]], dtype=np.int32)
    with pytest.raises(GraphError, match=r"rows below 3 \(got 3\)"):
        placed_neighbors(neighbors, Order.catalog(3), 0, 2)
    with pytest.raises(GraphError, match=r"rows below 3 \(got 3\)"):
        locality_order(neighbors, weights_of(neighbors))
