"""Steps of the full softmax: some queries, each with all of its pairs, against all candidates.

Candidates are the items with a training context, as for sampled negatives; every step embeds all
of them. So what it computes on is the same in every step of a pass, and only the queries change.

Shapes: N items, C candidates, Q queries of a step, P pairs of theirs, S nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.pinsage import Nodes
from pinsage.training.catalog import Catalog, send, send_nodes, tensors_of
from pinsage.training.origin import array_digest, digest_of_tables
from pinsage.training.pairs import TrainingPairs
from pinsage.training.sampler import gathered
from pinsage.training.team import Team

_ALONE = Team()


@dataclass(frozen=True)
class QueryBatch:
    """One step's input.

    Attributes:
        nodes: the candidates and what their embeddings are computed from
        query_Q: int64 positions among the candidates
        indptr: int64 [Q + 1], on the host; each query's pairs among the P
        positive_P: int64 positions among the candidates, distinct within a query
        weight_P: float32, of each pair; those of all of the step's pairs sum to 1
        share: of the step that is in this minibatch: 1 unless a team trains
    """

    nodes: Nodes
    query_Q: Tensor
    indptr: Tensor
    positive_P: Tensor
    weight_P: Tensor
    share: float


@dataclass(frozen=True)
class PairsByQuery:
    """The pairs of every query, merged: how often an item is its positive, by weight.

    Attributes:
        query_row: int32, the distinct queries, ascending
        indptr: int64, one more
        positive_row: int32, ascending in each query
        weight: float64
    """

    query_row: npt.NDArray[np.int32]
    indptr: npt.NDArray[np.int64]
    positive_row: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]

    @classmethod
    def of(cls, training: TrainingPairs, num_items: int) -> PairsByQuery:
        """Merge the pairs of the same two items."""
        pairs = training.pairs
        packed = pairs.query_row.astype(np.int64) * num_items + pairs.positive_row
        packed, place = np.unique(packed, return_inverse=True)
        query, positive = np.divmod(packed, num_items)
        query_row, starts = np.unique(query, return_index=True)
        weight = np.bincount(place, training.weight).astype(np.float64)
        return cls(
            query_row.astype(np.int32),
            np.append(starts, len(query)).astype(np.int64),
            positive.astype(np.int32),
            weight,
        )

    def __len__(self) -> int:
        return len(self.query_row)


class QueryLoader:
    """Minibatches of queries for the full softmax.

    Args:
        training: queries, their positives, and what they weigh
        tables: neighbourhoods, which passes take turns with
        features: of all N items
        degree: int64 [N], training contexts; items without any are no candidates
        hops: K, the number of layers
        batch_size: queries a step
        passes: how often an epoch goes through all queries, in an order drawn anew
        seed: of these orders
        team: whose part of each step's queries is taken
    """

    def __init__(
        self,
        training: TrainingPairs,
        tables: Sequence[Neighbourhoods],
        features: TensorFrame,
        degree: npt.NDArray[np.integer],
        *,
        hops: int,
        batch_size: int,
        passes: int,
        seed: int,
        team: Team = _ALONE,
    ) -> None:
        pairs = training.pairs
        is_candidate = degree > 0
        # What a graph without some of the interactions has lost may still be asked for.
        is_candidate[pairs.query_row] = is_candidate[pairs.positive_row] = True
        candidates = np.flatnonzero(is_candidate).astype(np.int32)
        num_items = tables[0].num_items
        self._pairs = PairsByQuery.of(training, num_items)
        position = np.full(num_items, -1, dtype=np.int64)
        position[candidates] = np.arange(len(candidates))
        self._query, self._positive = (
            position[rows] for rows in (self._pairs.query_row, self._pairs.positive_row)
        )
        self._training, self._tables, self._features = training, tables, features
        self._candidates, self._hops = candidates, hops
        self._batch_size, self._passes, self._seed, self._team = batch_size, passes, seed, team
        self._epoch = self._skip = 0

    def __len__(self) -> int:
        """Steps of an epoch."""
        return self._steps_of_pass * self._passes

    @property
    def _steps_of_pass(self) -> int:
        return -(-len(self._pairs) // self._batch_size)

    def begin(self, epoch: int, *, step: int = 0) -> None:
        """Position the loader at a step of an epoch; the next iteration starts there."""
        self._epoch, self._skip = epoch, step

    def digests(self) -> dict[str, str]:
        """Digests of the data by name: the pairs with their weights, the neighbours, features."""
        pairs = self._training.pairs
        return {
            "pairs": array_digest([pairs.query_row, pairs.positive_row, self._training.weight]),
            "neighbourhoods": digest_of_tables(self._tables),
            "features": array_digest(p.cpu().numpy() for p in tensors_of(self._features)),
        }

    @contextmanager
    def batches(self, device: torch.device) -> Iterator[Iterator[QueryBatch]]:
        """Minibatches on a device, from where `begin` has set; the nodes go there once a table."""
        yield self._generate(device)

    def _generate(self, device: torch.device) -> Iterator[QueryBatch]:
        nodes, turn = None, -1
        for step in range(self._skip, len(self)):
            passed = self._epoch * self._passes + step // self._steps_of_pass
            if nodes is None or turn != passed % len(self._tables):
                turn = passed % len(self._tables)
                nodes = self._nodes(self._tables[turn], device)
            yield self._batch(step, nodes, device)

    def _nodes(self, table: Neighbourhoods, device: torch.device) -> Nodes:
        sample = gathered(table, self._candidates, self._hops)
        return send_nodes(Catalog(table, self._features).nodes(sample), device)

    def _batch(self, step: int, nodes: Nodes, device: torch.device) -> QueryBatch:
        chosen = self._chosen(step)
        places, ends = self._places(chosen)
        # Of the whole step, so that the parts of a team add up to what one process has.
        total = self._pairs.weight[places].sum()
        part = self._team.part(len(chosen))
        chosen, ends = chosen[part], ends[part.start : part.stop + 1]
        places = places[ends[0] : ends[-1]]
        weight = (self._pairs.weight[places] / total).astype(np.float32)
        indptr = torch.from_numpy(ends - ends[0])
        query, positive, weights = (
            send(torch.from_numpy(values), device)
            for values in (self._query[chosen], self._positive[places], weight)
        )
        return QueryBatch(nodes, query, indptr, positive, weights, 1 / self._team.size)

    def _chosen(self, step: int) -> npt.NDArray[np.int64]:
        """Which queries a step has: a pure function of (seed, epoch, step)."""
        number, place = divmod(step, self._steps_of_pass)
        rng = np.random.Generator(np.random.Philox([self._seed, self._epoch, number]))
        order: npt.NDArray[np.int64] = rng.permutation(len(self._pairs))
        return order[place * self._batch_size :][: self._batch_size]

    def _places(
        self, chosen: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places of the pairs of Q queries, one query after the other, and their indptr [Q + 1]."""
        starts = self._pairs.indptr[chosen]
        lengths = self._pairs.indptr[chosen + 1] - starts
        ends = np.concatenate([[0], np.cumsum(lengths)])
        places: npt.NDArray[np.int64] = np.repeat(starts - ends[:-1], lengths)
        return places + np.arange(len(places)), ends
