"""Minibatches of pairs as a PyG sampler: S(K) ⊂ … ⊂ S(0), gathered outside in (Algorithm 2).

The neighbourhoods are fixed, so what is sampled are the negatives, of which `negatives` says that
any number of workers, and a resumed run, draw the same. Our own loader takes `sample_pairs`; the
lists of edges that PyG's loaders want take as long again, and several times the memory.

Shapes: P pairs, M negatives shared by them, h hard negatives a query, S nodes, T neighbours; B
nodes that have their neighbours among the S.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_geometric.sampler import (
    BaseSampler,
    EdgeSamplerInput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.training.negatives import HardNegatives, SharedNegatives
from pinsage.training.team import Team

Rows = npt.NDArray[np.int32]
_ALONE = Team()


@dataclass(frozen=True)
class Hops:
    """Nodes of a minibatch and the table over them.

    Attributes:
        rows: int32 [S], item rows, seeds first, then each hop's new ones
        local: int32 [B, T], positions of the neighbours of the first B nodes, -1 for none
        num_nodes: nodes within 0, 1, …, K hops of the seeds
    """

    rows: Rows
    local: npt.NDArray[np.int32]
    num_nodes: tuple[int, ...]


@dataclass(frozen=True)
class PairSample:
    """A batch of pairs with its negatives, and the nodes that they need.

    Attributes:
        input_id: int64 [P], which pairs
        rows_S: int64, item rows, of the nodes that this process's part of the pairs needs
        local_BT: int32, positions in `rows_S`, -1 for none; no rows where the neighbours are
            looked up elsewhere
        num_nodes: nodes within 0, 1, …, K hops
        query_P, positive_P, negative_M: int64, positions in `rows_S`; -1 for items that another
            process's part alone needs
        hard_Ph: int64, likewise, of this part's pairs; -1 where a query has no more of them
    """

    input_id: Tensor
    rows_S: Tensor
    local_BT: Tensor
    num_nodes: tuple[int, ...]
    query_P: Tensor
    positive_P: Tensor
    negative_M: Tensor
    hard_Ph: Tensor

    @property
    def num_targets(self) -> tuple[int, ...]:
        """Nodes that layer 1, …, K compute."""
        return self.num_nodes[-2::-1]


class NeighbourhoodSampler(BaseSampler):  # type: ignore[misc]
    """PyG sampler over the fixed table of neighbours, with the negatives of a batch of pairs.

    Args:
        table: neighbours of all N items
        hops: K, the number of layers
        negatives: drawn once a batch
        hard: drawn for each query; None for none
        team: whose part of each batch is gathered
    """

    def __init__(
        self,
        table: Neighbourhoods,
        *,
        hops: int,
        negatives: SharedNegatives,
        hard: HardNegatives | None = None,
        team: Team = _ALONE,
    ) -> None:
        self._table = table
        self._hops = hops
        self.negatives = negatives
        self._hard = hard
        self.team = team
        self.epoch = 0
        self.looks_up = True  # whether samples say where the neighbours are among their nodes
        self._stamp = np.full(table.num_items, -1, dtype=np.int64)

    def take(self, table: Neighbourhoods) -> None:
        """Go on with another table of the same items."""
        self._table = table

    def sample_pairs(self, index: EdgeSamplerInput) -> PairSample:
        """This process's part of a batch, the batch's negatives, and their K-hop neighbourhood."""
        query, positive = (part.numpy().astype(np.int32) for part in (index.row, index.col))
        first = int(index.input_id[0])
        negative = self.negatives.draw(self.epoch, first, positive)
        hard = np.empty((len(query), 0), dtype=np.int32)
        if self._hard is not None:
            hard = self._hard.draw(self.epoch, first, query)
        part = self.team.part(len(query))
        hard = hard[part]
        shared = negative, hard[hard >= 0]
        hops = self._gather(np.concatenate([query[part], positive[part], *shared]))
        named = np.concatenate([query, positive, *shared])
        position = _positions(named, hops.rows, self._stamp)
        ends = np.cumsum([len(query), len(positive), len(negative)])
        *parts, hard_at = np.split(position, ends)
        hard_local = np.full(hard.shape, -1, dtype=np.int64)
        hard_local[hard >= 0] = hard_at
        return PairSample(
            index.input_id,
            torch.from_numpy(hops.rows.astype(np.int64)),
            torch.from_numpy(hops.local),
            hops.num_nodes,
            *(torch.from_numpy(part) for part in (*parts, hard_local)),
        )

    def sample_from_nodes(self, index: NodeSamplerInput, **_: Any) -> SamplerOutput:
        """The K-hop neighbourhood of the given nodes; repeats are merged."""
        hops = self._gather(index.node.numpy().astype(np.int32))
        rows = torch.from_numpy(hops.rows.astype(np.int64))
        return _with_edges(rows, hops.local, hops.num_nodes, index.input_id)

    def sample_from_edges(
        self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None
    ) -> SamplerOutput:
        """The K-hop neighbourhood of a batch of pairs and of its negatives, for PyG's LinkLoader.

        `metadata` is (input_id, query [P], positive [P], negative [M], hard negative [p, h]) as
        positions in `node`; -1 as in `PairSample`.
        """
        of = self.sample_pairs(index)
        metadata = (of.input_id, of.query_P, of.positive_P, of.negative_M, of.hard_Ph)
        return _with_edges(of.rows_S, of.local_BT.numpy(), of.num_nodes, *metadata)

    @property
    def edge_permutation(self) -> None:
        """Edges are numbered as in the flattened table."""
        return None

    def _gather(self, seeds: Rows) -> Hops:
        of = self._table.neighbors, seeds, self._hops, self._stamp, self.looks_up
        rows, local, ends = _expand(*of)
        return Hops(rows, local, tuple(int(end) for end in ends))


def gathered(table: Neighbourhoods, rows: Rows, hops: int) -> PairSample:
    """Distinct items, which come first, and their K-hop neighbourhood: a sample without pairs."""
    stamp = np.full(table.num_items, -1, dtype=np.int64)
    nodes, local, ends = _expand(table.neighbors, rows, hops, stamp, True)
    none = torch.empty(0, dtype=torch.int64)
    return PairSample(
        none, torch.from_numpy(nodes.astype(np.int64)), torch.from_numpy(local),
        tuple(int(end) for end in ends), none, none, none, none.reshape(0, 0),
    )  # fmt: skip


def _with_edges(
    rows_S: Tensor, local: npt.NDArray[np.int32], num_nodes: tuple[int, ...], *metadata: Any
) -> SamplerOutput:
    """What PyG's loaders take: the table as edges, numbered as in the flattened table."""
    target, slot = np.nonzero(local >= 0)
    within = (0, *num_nodes)
    return SamplerOutput(
        node=rows_S,
        row=torch.from_numpy(local[target, slot].astype(np.int64)),
        col=torch.from_numpy(target),
        edge=rows_S[target] * local.shape[1] + torch.from_numpy(slot),
        num_sampled_nodes=[int(n) for n in np.diff(within)],
        num_sampled_edges=[int(n) for n in np.diff(np.searchsorted(target, within[:-1]))],
        metadata=(*metadata, torch.from_numpy(local)),
    )


@numba.njit(cache=True, nogil=True)
def _expand(neighbors: Any, seeds: Any, hops: Any, stamp: Any, looks_up: Any) -> Any:
    """Breadth-first over the table; `stamp` maps item row → position, and is -1 outside."""
    capacity = min(len(stamp), len(seeds) * (neighbors.shape[1] + 1) ** hops)
    rows = np.empty(capacity, dtype=np.int32)
    count = 0
    for seed in seeds:
        if stamp[seed] < 0:
            stamp[seed] = count
            rows[count] = seed
            count += 1
    ends = np.empty(hops + 1, dtype=np.int64)
    ends[0] = count
    done = 0
    for hop in range(hops):
        for position in range(done, ends[hop]):
            for item in neighbors[rows[position]]:
                if item >= 0 and stamp[item] < 0:
                    stamp[item] = count
                    rows[count] = item
                    count += 1
        done = ends[hop]
        ends[hop + 1] = count
    wanted = done if looks_up else 0
    local = np.full((wanted, neighbors.shape[1]), -1, dtype=np.int32)
    for position in range(wanted):
        for slot, item in enumerate(neighbors[rows[position]]):
            if item >= 0:
                local[position, slot] = stamp[item]
    rows = rows[:count].copy()
    for item in rows:
        stamp[item] = -1
    return rows, local, ends


@numba.njit(cache=True, nogil=True)
def _positions(seeds: Any, rows: Any, stamp: Any) -> Any:
    """Position of each seed in `rows`, -1 where it is not in them."""
    for position, item in enumerate(rows):
        stamp[item] = position
    found = np.empty(len(seeds), dtype=np.int64)
    for i, seed in enumerate(seeds):
        found[i] = stamp[seed]
    for item in rows:
        stamp[item] = -1
    return found
