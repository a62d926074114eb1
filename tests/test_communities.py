"""The benchmarks' generator: reproducible for any chunking, skewed, with communities."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SHAPE: dict[str, Any] = {
    "num_items": 500,
    "num_contexts": 203,
    "num_edges": 20_000,
    "num_communities": 10,
}


@pytest.fixture(scope="module")
def communities() -> Iterator[Any]:
    """The class; scripts of the benchmarks find each other by the folder they lie in."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield import_module("_communities").Communities
    finally:
        sys.path.remove(str(BENCHMARKS))


def columns(table: pa.Table) -> tuple[Any, Any]:
    return table["item_row"].to_numpy(), table["user_row"].to_numpy()


def test_chunks_change_no_edge(communities: Any, tmp_path: Path) -> None:
    graph = communities(**SHAPE)
    graph.write(tmp_path / "a.parquet", chunk=20_000)
    graph.write(tmp_path / "b.parquet", chunk=777)
    whole = pq.read_table(tmp_path / "a.parquet")
    assert len(whole) == 20_000
    assert whole.equals(pq.read_table(tmp_path / "b.parquet"))
    assert whole["timestamp"].to_pylist() == list(range(20_000))
    other = pa.concat_tables(communities(**SHAPE, seed=8).tables())
    assert not whole.equals(other)


def test_rows_lie_in_their_ranges(communities: Any) -> None:
    item, context = columns(pa.concat_tables(communities(**SHAPE).tables()))
    assert (item.min(), context.min()) == (0, 0)
    assert item.max() < 500
    assert context.max() < 203
    assert len(np.unique(context)) == 203


def test_loyalty_is_the_share_of_edges_at_home_and_a_bit_of_chance(communities: Any) -> None:
    item, context = columns(pa.concat_tables(communities(**SHAPE, loyalty=0.6).tables()))
    # A tenth of the other 40 % comes home by chance; four standard deviations are 0.014.
    assert np.mean(item % 10 == context % 10) == pytest.approx(0.64, abs=0.014)


def test_popularity_follows_the_power_law(communities: Any) -> None:
    _, context = columns(pa.concat_tables(communities(**SHAPE, exponent=0.5).tables()))
    counts = np.sort(np.bincount(context, minlength=203))[::-1]
    # With density ∝ rank^−½ the first quarter of the ranks holds half of all edges.
    assert counts[:51].sum() / 20_000 == pytest.approx((51 / 203) ** 0.5, abs=0.02)


def test_more_communities_than_contexts_are_refused(communities: Any) -> None:
    with pytest.raises(ValueError, match=r"between 1 and .*, 203 \(got 204\)"):
        communities(**{**SHAPE, "num_communities": 204})
