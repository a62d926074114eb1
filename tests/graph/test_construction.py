"""Building the graph out of core, against dictionaries and fractions."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.config import GraphConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.construction.edges import EdgeFile
from pinsage.graph.construction.growing import GrowingCsr
from pinsage.graph.construction.runs import write_runs
from pinsage.graph.construction.stage import write_graph
from pinsage.graph.reach import changed_rows
from pinsage.progress import Progress
from pinsage.store import Facts
from tests.graph.conftest import mix

DAY = 86_400_000_000
NUM_ITEMS = 7
ARRAYS = ("item_indptr", "item_indices", "context_indptr", "context_indices")
GOLDEN = 0x9E3779B97F4A7C15

# item, context, day and weight of an interaction; half a day is half a half-life of a day or two.
Row = tuple[int, int, int, float]
row_lists = st.lists(
    st.tuples(
        st.integers(0, NUM_ITEMS - 1),
        st.integers(0, 2500) | st.integers(0, 3),
        st.integers(0, 6),
        st.sampled_from([0.0, 0.25, 1.0, 3.0, 1e6]),
    ),
    min_size=1,
    max_size=40,
)
memories = st.sampled_from([1, 64, 200, 1000, 1 << 20])
options = st.builds(
    GraphConfig,
    weights=st.sampled_from(["count", "sum"]),
    max_context_degree=st.integers(0, 4),
    window_days=st.sampled_from([0.0, 3.0]),
    half_life_days=st.sampled_from([0.0, 1.0]),
) | st.builds(
    GraphConfig,
    max_context_degree=st.integers(0, 4),
    window_days=st.sampled_from([0.0, 3.0]),
)


def write_rows(file: Path, rows: list[Row], *, group: int = 1 << 20, **options: Any) -> None:
    item, context, day, weight = zip(*rows, strict=True) if rows else ((), (), (), ())
    table = pa.table(
        {
            "item_row": pa.array(item, pa.int32()),
            "user_row": pa.array(context, pa.int32()),
            "timestamp": pa.array([d * DAY for d in day], pa.int64()),
            "weight": pa.array(weight, pa.float32()),
        }
    )
    pq.write_table(table, file, row_group_size=group, **options)


def build(
    rows: list[Row], config: GraphConfig, *, memory: int = 1 << 20, seed: int = 0, group: int = 7
) -> tuple[BipartiteGraph, Facts]:
    with tempfile.TemporaryDirectory() as folder:
        scratch, out, file = (Path(folder, name) for name in ("scratch", "out", "rows.parquet"))
        scratch.mkdir()
        out.mkdir()
        write_rows(file, rows, group=group)
        facts = write_graph(file, NUM_ITEMS, config, seed, out=out, scratch=scratch, memory=memory)
        assert not list(scratch.glob("run-*"))
        opened = BipartiteGraph.open(out)
        names = (*ARRAYS, "item_thresholds", "context_thresholds")
        arrays: dict[str, Any] = {name: getattr(opened, name) for name in names}
        # Copied, as the folder goes.
        copies: dict[str, Any] = {
            name: None if a is None else np.array(a) for name, a in arrays.items()
        }
        return BipartiteGraph(**copies), facts


Adjacency = dict[int, dict[int, float]]


def reference(rows: list[Row], config: GraphConfig, seed: int) -> Adjacency:
    """Weight of every edge by context and item, one interaction after the other."""
    newest = max(day for _, _, day, _ in rows)
    edges: Adjacency = {}
    for item, context, day, weight in rows:
        age = newest - day
        if config.window_days and age > config.window_days:
            continue
        value = {"none": 1.0, "count": 1.0, "sum": weight}[config.weights]
        if config.half_life_days:
            value *= 0.5 ** (age / config.half_life_days)
        if value:
            row = edges.setdefault(context, {})
            row[item] = row.get(item, 0.0) + value
    if config.max_context_degree:
        for context, row in edges.items():
            key = mix(seed * GOLDEN + context)
            by_hash = sorted(row, key=lambda item: mix(key + item * GOLDEN))
            edges[context] = {item: row[item] for item in by_hash[: config.max_context_degree]}
    return edges


def transposed(edges: Adjacency) -> Adjacency:
    turned: Adjacency = {}
    for row, columns in edges.items():
        for column, weight in columns.items():
            turned.setdefault(column, {})[row] = weight
    return turned


def thresholds(weights: list[float]) -> list[int]:
    """Formula of `cut_by_weight`, with fractions."""
    d = len(weights)
    lift = Fraction(1)
    low, high = Fraction(2) ** (52 - d.bit_length()), Fraction(2) ** (53 - d.bit_length())
    while Fraction(max(weights)) * lift >= high:
        lift /= 2
    while Fraction(max(weights)) * lift < low:
        lift *= 2
    q = [max(1, (Fraction(w) * lift + Fraction(1, 2)).__floor__()) for w in weights]
    bounds = [0]
    for k in range(d):
        fair = 2**32 * sum(q[: k + 1]) // sum(q)
        bounds.append(max(bounds[-1] + 1, min(fair, 2**32 - (d - k - 1))))
    return [bound - 1 for bound in bounds[1:]]


def check_direction(
    edges: Adjacency, num_rows: int, indptr: Any, indices: Any, cut: Any | None
) -> None:
    assert len(indptr) == num_rows + 1
    for row, (start, stop) in enumerate(pairwise(indptr.tolist())):
        expected = dict(sorted(edges.get(row, {}).items()))
        assert indices[start:stop].tolist() == list(expected)
        if cut is not None and expected:
            assert cut[start:stop].tolist() == thresholds(list(expected.values()))


@settings(max_examples=60, deadline=None)
@given(
    rows=row_lists, config=options, memory=memories, seed=st.integers(0, 3), group=st.integers(1, 9)
)
def test_it_equals_dictionaries_for_any_options_and_block_size(
    rows: list[Row], config: GraphConfig, memory: int, seed: int, group: int
) -> None:
    graph, facts = build(rows, config, memory=memory, seed=seed, group=group)
    edges = reference(rows, config, seed)
    num_contexts = 1 + max(context for _, context, _, _ in rows)
    check_direction(
        edges, num_contexts, graph.context_indptr, graph.context_indices, graph.context_thresholds
    )
    turned = transposed(edges)
    check_direction(turned, NUM_ITEMS, graph.item_indptr, graph.item_indices, graph.item_thresholds)
    assert graph.is_weighted == (config.weights != "none")
    assert facts == {
        "num_items": NUM_ITEMS,
        "num_contexts": num_contexts,
        "num_edges": sum(map(len, edges.values())),
        "num_isolated_items": NUM_ITEMS - len(turned),
        "max_item_degree": max(map(len, turned.values()), default=0),
    }


@settings(max_examples=40, deadline=None)
@given(rows=row_lists, memory=memories)
def test_by_default_files_are_those_of_the_graph_in_memory(rows: list[Row], memory: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ("scratch", "out", "saved"):
            (folder / each).mkdir()
        write_rows(folder / "rows.parquet", rows)
        write_graph(
            folder / "rows.parquet", NUM_ITEMS, GraphConfig(), 0,
            out=folder / "out", scratch=folder / "scratch", memory=memory,
        )  # fmt: skip
        item, context = np.array([row[:2] for row in rows], dtype=np.int32).T
        whole = BipartiteGraph.from_edges(
            item, context, num_items=NUM_ITEMS, num_contexts=int(context.max()) + 1
        )
        whole.save(folder / "saved")
        files = sorted(path.name for path in (folder / "saved").iterdir())
        assert files == sorted(path.name for path in (folder / "out").iterdir())
        for file in files:
            assert (folder / "out" / file).read_bytes() == (folder / "saved" / file).read_bytes()


@pytest.mark.parametrize("damage", ["emptied", "cut short", "zeroed", "zeroed behind", "missing"])
def test_a_run_that_a_power_loss_spoilt_is_made_again(tmp_path: Path, damage: str) -> None:
    rows = [(k % NUM_ITEMS, k % 5, 0, 1.0) for k in range(30)]
    file = tmp_path / "rows.parquet"
    write_rows(file, rows)
    source = EdgeFile(file, NUM_ITEMS, GraphConfig())
    whole = [run.path.read_bytes() for run in write_runs(source, tmp_path, 320, None).runs]
    assert len(whole) == 3
    spoilt = sorted(tmp_path.glob("run-*"))[1]
    if damage == "missing":
        spoilt.unlink()
    else:
        size = len(whole[1])
        contents = {
            "emptied": b"",
            "cut short": whole[1][: size - 3],
            "zeroed": bytes(size),
            "zeroed behind": whole[1][:64] + bytes(size - 64),
        }
        spoilt.write_bytes(contents[damage])
    told: list[Progress] = []
    again = write_runs(source, tmp_path, 320, told.append)
    assert told[0].done == 10
    assert [run.path.read_bytes() for run in again.runs] == whole


def test_no_interaction_is_a_graph_without_contexts() -> None:
    graph, facts = build([], GraphConfig(weights="sum", half_life_days=1))
    assert (graph.num_items, graph.num_contexts, graph.num_edges) == (NUM_ITEMS, 0, 0)
    assert facts["num_isolated_items"] == NUM_ITEMS


def test_weights_decay_by_half_a_half_life() -> None:
    rows = [(0, 0, 0, 1.0), (1, 0, 1, 1.0)]
    graph, _ = build(rows, GraphConfig(weights="count", half_life_days=2))
    assert graph.context_thresholds is not None
    share = (int(graph.context_thresholds[0]) + 1) / 2**32
    assert share == pytest.approx(0.5**0.5 / (1 + 0.5**0.5), abs=1e-9)


def test_a_weight_shares_out_the_draws() -> None:
    rows = [(0, 0, 0, 1.0), (1, 0, 0, 3.0), (2, 0, 0, 4.0)]
    graph, _ = build(rows, GraphConfig(weights="sum"))
    assert graph.context_thresholds is not None
    assert graph.context_thresholds.tolist() == [2**29 - 1, 2**31 - 1, 2**32 - 1]
    assert graph.item_thresholds is not None
    assert graph.item_thresholds.tolist() == [2**32 - 1] * 3


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(
        st.floats(2.0**-126, 2.0**127, width=32) | st.sampled_from([1.0, 2.0**-126, 2.0**127]),
        min_size=1,
        max_size=NUM_ITEMS,
    )
)
def test_every_edge_keeps_a_value_and_its_share(weights: list[float]) -> None:
    rows = [(item, 0, 0, weight) for item, weight in enumerate(weights)]
    graph, _ = build(rows, GraphConfig(weights="sum"))
    assert graph.context_thresholds is not None
    cut = [-1, *graph.context_thresholds.tolist()]
    assert cut[1:] == thresholds(weights)
    assert cut[-1] == 2**32 - 1
    for (before, last), weight in zip(pairwise(cut), weights, strict=True):
        assert last > before
        share = Fraction(last - before, 2**32)
        # Cumulative rounding is off by one value at either end, pushed on by an edge before it.
        exact = Fraction(weight) / sum(map(Fraction, weights))
        assert abs(share - exact) <= Fraction(2 * len(weights), 2**32)


def test_a_hub_is_sampled_without_favour() -> None:
    rows = [(item, context, 0, 1.0) for context in range(2000) for item in range(NUM_ITEMS)]
    graph, _ = build(rows, GraphConfig(max_context_degree=2), seed=5)
    assert set(np.diff(graph.context_indptr).tolist()) == {2}
    # Each item stays in 2/7 of 2000 contexts; four standard deviations are 81.
    assert np.abs(graph.item_degree - 2000 * 2 / 7).max() < 81
    other, _ = build(rows, GraphConfig(max_context_degree=2), seed=6)
    assert (other.context_indices != graph.context_indices).any()


def test_what_a_hub_keeps_does_not_depend_on_other_contexts() -> None:
    rows = [(item, context, 0, 1.0) for context in range(50) for item in range(NUM_ITEMS)]
    config = GraphConfig(max_context_degree=3)
    whole, _ = build(rows, config)
    part, _ = build([row for row in rows if row[1] in (7, 49)], config)
    for context in (7, 49):
        kept = [
            each.context_indices[each.context_indptr[context] : each.context_indptr[context + 1]]
            for each in (whole, part)
        ]
        assert kept[0].tolist() == kept[1].tolist()


def test_interactions_before_the_window_leave_their_context_empty() -> None:
    rows = [(0, 0, 0, 1.0), (1, 1, 3, 1.0), (2, 2, 4, 1.0)]
    graph, _ = build(rows, GraphConfig(window_days=1))
    assert graph.context_indptr.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_named(weight: float) -> None:
    rows = [(0, 0, 0, 1.0)] * 9 + [(1, 0, 0, weight)]
    with pytest.raises(
        GraphError,
        match=rf"rows\.parquet: weight {weight} in row 9, expected a finite number of at least 0; "
        r".*graph\.weights to 'count' or 'none'",
    ):
        build(rows, GraphConfig(weights="sum"))
    build(rows, GraphConfig(weights="count"))


@pytest.mark.parametrize(
    ("edge", "message"),
    [
        ((7, 0), r"item rows must lie in \[0, 7\) \(got 0 to 7\)"),
        ((-1, 0), r"item rows must lie in \[0, 7\) \(got -1 to 0\)"),
        ((0, -2), r"context rows must lie in \[0, 1\) \(got -2 to 0\)"),
    ],
)
def test_a_row_out_of_range_is_named(edge: tuple[int, int], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        build([(0, 0, 0, 1.0), (*edge, 0, 1.0)], GraphConfig())


def test_contexts_without_a_number_are_refused() -> None:
    with pytest.raises(GraphError, match=r"context rows must lie in \[0, 0\) \(got -1 to -1\)"):
        build([(0, -1, 0, 1.0)], GraphConfig())


@pytest.mark.parametrize("column", ["item_row", "user_row"])
@pytest.mark.parametrize("statistics", [True, False])
def test_a_missing_value_is_named(tmp_path: Path, column: str, *, statistics: bool) -> None:
    file = tmp_path / "rows.parquet"
    table = pa.table({name: pa.array([0, 0], pa.int32()) for name in ("item_row", "user_row")})
    spoilt = table.set_column(
        table.schema.names.index(column), column, pa.array([0, None], pa.int32())
    )
    pq.write_table(spoilt, file, write_statistics=statistics)
    with pytest.raises(GraphError, match=rf"1 missing values in column {column}.*build the data"):
        write_graph(file, 1, GraphConfig(), 0, out=tmp_path, scratch=tmp_path)


def test_a_file_without_statistics_is_read_for_its_largest_context(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    write_rows(file, [(0, 3, 0, 1.0), (0, 1, 5, 1.0)], group=1, write_statistics=False)
    config = GraphConfig(window_days=1)
    (tmp_path / "out").mkdir()
    facts = write_graph(file, 1, config, 0, out=tmp_path / "out", scratch=tmp_path)
    assert (facts["num_contexts"], facts["num_edges"]) == (4, 1)


def test_however_old_an_interaction_is_an_edge() -> None:
    decayed = GraphConfig(weights="count", half_life_days=1.0)
    graph, _ = build([(0, 0, 0, 1.0), (1, 0, 0, 1.0), (1, 0, 5000, 1.0)], decayed)
    assert graph.context_indices.tolist() == [0, 1]
    assert graph.context_thresholds is not None
    assert graph.context_thresholds.tolist() == [0, 2**32 - 1]


def test_a_day_later_rows_that_nothing_came_to_are_as_they_were() -> None:
    decayed = GraphConfig(weights="count", half_life_days=2.0)
    rows = [(i % 5, c % 9, (i * 3 + c) % 7, 1.0) for i in range(5) for c in range(30)]
    old, _ = build(rows, decayed)
    new, _ = build([*rows, (6, 60, 11, 1.0)], decayed)
    items, contexts = changed_rows(old, new)
    assert np.flatnonzero(items).tolist() == [6]
    assert not contexts.any()


@pytest.mark.parametrize("lost", ["indptr", "indices", "thresholds"])
def test_a_csr_whose_files_were_cleaned_up_begins_anew(tmp_path: Path, lost: str) -> None:
    def opened() -> GrowingCsr:
        return GrowingCsr(tmp_path, "item", 2, weighted=True)

    lengths, indices = np.array([3]), np.array([7, 8, 9], dtype=np.int32)
    opened().append(lengths, indices, np.ones(3), np.array([1, 2, 2**32 - 1], dtype=np.uint32))
    assert (opened().rows, opened().edges) == (1, 3)
    assert opened().indices.read(0, 3).tolist() == [7, 8, 9]
    (tmp_path / f"item_{lost}.npy").unlink()
    assert (opened().rows, opened().edges) == (0, 0)
