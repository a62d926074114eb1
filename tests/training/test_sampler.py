"""Minibatch neighbourhoods, against a breadth-first search over lists and sets."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader, NodeLoader
from torch_geometric.sampler import EdgeSamplerInput, NodeSamplerInput, SamplerOutput

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.conv import PinSageConv
from pinsage.training.negatives import HardNegatives, SharedNegatives
from pinsage.training.sampler import NeighbourhoodSampler

MakeSampler = Callable[..., NeighbourhoodSampler]
Table = npt.NDArray[np.int32]


def breadth_first(table: Table, seeds: list[int], hops: int) -> tuple[list[int], list[int]]:
    """Rows in the order they are met, and how many are met within 0, 1, …, K hops."""
    met = dict.fromkeys(seeds)
    within = [len(met)]
    for _ in range(hops):
        for row in list(met):
            met |= dict.fromkeys(item for item in table[row].tolist() if item >= 0)
        within.append(len(met))
    return list(met), within


def neighbourhood_sets(table: Table, seeds: list[int], hops: int) -> list[set[int]]:
    """S(K), S(K-1), …, S(0) of Algorithm 2."""
    sets = [set(seeds)]
    for _ in range(hops):
        near = {int(item) for row in sets[-1] for item in table[row] if item >= 0}
        sets.append(sets[-1] | near)
    return sets


def random_table(num_items: int, size: int, padding: float, seed: int) -> Neighbourhoods:
    rng = np.random.default_rng(seed)
    neighbors = rng.integers(0, num_items, (num_items, size), dtype=np.int32)
    neighbors[rng.random(neighbors.shape) < padding] = -1
    return Neighbourhoods(neighbors, rng.random(neighbors.shape, dtype=np.float32))


def nodes_input(seeds: list[int]) -> NodeSamplerInput:
    return NodeSamplerInput(input_id=torch.arange(len(seeds)), node=torch.tensor(seeds))


def pairs_input(first: int, query: list[int], positive: list[int]) -> EdgeSamplerInput:
    ids = torch.arange(first, first + len(query))
    return EdgeSamplerInput(ids, torch.tensor(query), torch.tensor(positive))


def assert_consistent(out: SamplerOutput, table: Neighbourhoods) -> None:
    """Edges are exactly the entries of the table in the rows of all but the outermost nodes."""
    within = np.cumsum(out.num_sampled_nodes)
    node, row, col, edge = (part.numpy() for part in (out.node, out.row, out.col, out.edge))
    assert len(set(node.tolist())) == len(node) == within[-1]
    np.testing.assert_array_equal(node[col], edge // table.size)
    np.testing.assert_array_equal(node[row], table.neighbors.ravel()[edge])
    inner = node[: within[-2]]
    filled = np.flatnonzero((table.neighbors[inner] >= 0).ravel())
    expected = inner[filled // table.size] * table.size + filled % table.size
    np.testing.assert_array_equal(edge, expected)


@settings(max_examples=40, deadline=None)
@given(
    num_items=st.integers(1, 12),
    size=st.integers(1, 3),
    padding=st.floats(0, 1),
    hops=st.integers(1, 3),
    seeds=st.lists(st.integers(0, 11), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
def test_nodes_are_gathered_hop_by_hop(
    num_items: int, size: int, padding: float, hops: int, seeds: list[int], seed: int
) -> None:
    table = random_table(num_items, size, padding, seed)
    seeds = [each % num_items for each in seeds]
    negatives = SharedNegatives(np.arange(1, dtype=np.int32), np.ones(1), size=1, seed=0)
    sampler = NeighbourhoodSampler(table, hops=hops, negatives=negatives)
    for _ in range(2):  # the second time shows that the first left nothing behind
        out = sampler.sample_from_nodes(nodes_input(seeds))
        rows, within = breadth_first(table.neighbors, seeds, hops)
        assert out.node.tolist() == rows
        assert np.cumsum(out.num_sampled_nodes).tolist() == within
        sets = neighbourhood_sets(table.neighbors, seeds, hops)
        assert [set(rows[:count]) for count in within] == sets
        assert_consistent(out, table)


def test_local_indices_are_the_table_read_through_the_nodes(
    town: SimpleNamespace, make_sampler: MakeSampler
) -> None:
    out = make_sampler().sample_from_nodes(nodes_input([5, 0, 49, 5]))
    _, local = out.metadata
    assert len(local) == sum(out.num_sampled_nodes[:-1])
    back = torch.where(local >= 0, out.node[local.clamp(min=0)], -1)
    np.testing.assert_array_equal(back, town.table.neighbors[out.node[: len(local)]])


def test_a_batch_of_pairs_says_where_its_pairs_and_negatives_are(
    town: SimpleNamespace, make_sampler: MakeSampler
) -> None:
    hard = HardNegatives(np.full((50, 3), 20, dtype=np.int32), most=2, curriculum=False, seed=1)
    hard.rows[4] = [-1, -1, -1]
    sampler = make_sampler(hard=hard)
    query, positive = [3, 4, 3], [4, 3, 9]
    out = sampler.sample_from_edges(pairs_input(7, query, positive))
    input_id, query_at, positive_at, negative_at, hard_at, _ = out.metadata
    drawn = sampler.negatives.draw(0, 7, np.array(positive, dtype=np.int32)).tolist()
    assert input_id.tolist() == [7, 8, 9]
    assert out.node[query_at].tolist() == query
    assert out.node[positive_at].tolist() == positive
    assert out.node[negative_at].tolist() == drawn
    assert torch.where(hard_at >= 0, out.node[hard_at], -1).tolist() == [
        [20, 20],
        [-1, -1],
        [20, 20],
    ]
    seeds = [*query, *positive, *drawn, 20]
    targets = max(*query_at, *positive_at, *negative_at, *hard_at.flatten())
    assert targets < len(set(seeds)) == out.num_sampled_nodes[0]
    assert_consistent(out, town.table)


@pytest.fixture
def whole_graph(town: SimpleNamespace) -> Data:
    """The town as a PyG graph whose edges are numbered as in the flattened table."""
    neighbors, weights = town.table.neighbors, town.table.weights
    target = np.repeat(np.arange(town.table.num_items), town.table.size)
    source = np.where(neighbors.ravel() < 0, target, neighbors.ravel())  # padding has weight 0
    return Data(
        x=torch.randn(town.table.num_items, 3, generator=torch.Generator().manual_seed(0)),
        edge_index=torch.from_numpy(np.stack([source, target])),
        edge_attr=torch.from_numpy(weights.ravel()),
    )


def test_pygs_own_node_loader_takes_it(whole_graph: Data, make_sampler: MakeSampler) -> None:
    torch.manual_seed(0)
    conv = PinSageConv(3, 4, 5)
    loader = NodeLoader(
        whole_graph, make_sampler(hops=1), input_nodes=torch.tensor([4, 49, 8, 15]), batch_size=3
    )
    expected = conv(whole_graph.x, whole_graph.edge_index, whole_graph.edge_attr)
    batches = list(loader)
    assert [batch.batch_size for batch in batches] == [3, 1]
    for batch in batches:
        out = conv(batch.x, batch.edge_index, batch.edge_attr)[: batch.batch_size]
        torch.testing.assert_close(out, expected[batch.n_id[: batch.batch_size]])
        assert len(batch.num_sampled_nodes) == 2
        assert batch.num_sampled_edges == [batch.edge_index.size(1)]


def test_pygs_own_link_loader_takes_it(
    whole_graph: Data, town: SimpleNamespace, make_sampler: MakeSampler
) -> None:
    edges = torch.from_numpy(np.stack([town.pairs.query_row, town.pairs.positive_row])).long()
    loader = LinkLoader(
        whole_graph, make_sampler(), edge_label_index=edges, neg_sampling="triplet", batch_size=16
    )
    batch = next(iter(loader))
    assert torch.equal(batch.n_id[batch.src_index], edges[0, :16])
    assert torch.equal(batch.n_id[batch.dst_pos_index], edges[1, :16])
    drawn = make_sampler().negatives.draw(0, 0, town.pairs.positive_row[:16])
    assert batch.n_id[batch.dst_neg_index].tolist() == drawn.tolist()


def test_edges_are_counted_by_hop(town: SimpleNamespace, make_sampler: MakeSampler) -> None:
    out = make_sampler().sample_from_nodes(nodes_input([1, 30]))
    filled = (town.table.neighbors >= 0).sum(axis=1)
    ends = np.cumsum(out.num_sampled_nodes)
    hops = np.split(out.node.numpy(), ends)[:2]
    assert out.num_sampled_edges == [int(filled[hop].sum()) for hop in hops]
