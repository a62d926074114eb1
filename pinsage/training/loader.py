"""Minibatches ready for the model: PyG's LinkLoader over the neighbourhood sampler.

Shapes: P pairs, M negatives shared by them, h hard negatives a query, S nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_frame.data import TensorFrame
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import SamplerOutput

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.pinsage import Nodes
from pinsage.training.negatives import PositiveSets, not_the_pair
from pinsage.training.origin import array_digest
from pinsage.training.pairs import TrainingPairs
from pinsage.training.sampler import NeighbourhoodSampler

_CHUNK = 1 << 16


@dataclass(frozen=True)
class MiniBatch:
    """One step's input.

    Attributes:
        nodes: the nodes to compute on
        query_P, positive_P, negative_M: int64 positions among the targets of the last layer
        allowed_PM: bool, False where a negative is the query itself or a positive of it
        hard_Ph: int64, likewise positions; -1 where a query has no more hard negatives
        log_chance_M: float32, how likely each negative was to be drawn
        weight_P: float32, of each pair in the loss
        share: float32, of the step's pairs that are in this minibatch: 1 unless a team trains
    """

    nodes: Nodes
    query_P: Tensor
    positive_P: Tensor
    negative_M: Tensor
    allowed_PM: Tensor
    hard_Ph: Tensor
    log_chance_M: Tensor
    weight_P: Tensor
    share: Tensor

    def to(self, device: torch.device) -> MiniBatch:
        """The same on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "nodes"}
        moved = {name: tensor.to(device) for name, tensor in tensors.items()}
        return replace(self, nodes=self.nodes.to(device), **moved)


class EpochOrder(Sampler[int]):
    """A permutation of the pairs, a pure function of (seed, epoch); can start anywhere in it.

    Args:
        num_pairs: pairs there are
        size: pairs of an epoch, the first ones of the permutation; 0 for all
        seed: with the epoch, what the permutation depends on
    """

    def __init__(self, num_pairs: int, *, size: int = 0, seed: int) -> None:
        self._num_pairs = num_pairs
        self._size = min(size, num_pairs) if size else num_pairs
        self._seed = seed
        self.epoch = 0
        self.skip = 0

    def __iter__(self) -> Iterator[int]:
        rng = np.random.Generator(np.random.Philox([self._seed, self.epoch]))
        order = rng.permutation(self._num_pairs)[self.skip : self._size]
        for start in range(0, len(order), _CHUNK):  # a list of all would be gigabytes of objects
            yield from order[start : start + _CHUNK].tolist()

    def __len__(self) -> int:
        return max(0, self._size - self.skip)


class PairLoader(LinkLoader):  # type: ignore[misc]
    """Loads minibatches of training pairs with their negatives.

    Args:
        training: queries, their positives, and what they weigh
        table: neighbourhoods
        features: of all N items
        sampler: draws negatives, gathers neighbourhoods
        batch_size: pairs a step
        epoch_pairs: pairs an epoch; 0 for all
        seed: of the order of the pairs
        exclude_positives: whether no positive of a query is a negative of it
        hold_out_edges: whether the step's pairs are taken out of each other's neighbours
        workers: processes that sample ahead; 0 samples in this one
    """

    def __init__(
        self,
        training: TrainingPairs,
        table: Neighbourhoods,
        features: TensorFrame,
        sampler: NeighbourhoodSampler,
        *,
        batch_size: int,
        seed: int,
        epoch_pairs: int = 0,
        exclude_positives: bool = True,
        hold_out_edges: bool = False,
        workers: int = 0,
    ) -> None:
        pairs = training.pairs
        self._table = table
        self._features = features
        self._positives = PositiveSets(pairs, table.num_items) if exclude_positives else None
        self._weight = training.weight
        self._hold_out_edges = hold_out_edges
        self._log_chance = sampler.negatives.log_chance(table.num_items, batch_size)
        self._sampler = sampler
        self.order = EpochOrder(len(pairs.query_row), size=epoch_pairs, seed=seed)
        edges = np.stack([pairs.query_row, pairs.positive_row]).astype(np.int64)
        super().__init__(
            Data(num_nodes=table.num_items),
            sampler,
            edge_label_index=torch.from_numpy(edges),
            batch_size=batch_size,
            sampler=self.order,
            num_workers=workers,
            # Workers forked from this process would inherit OpenMP's threads half-alive.
            multiprocessing_context="forkserver" if workers else None,
            filter_per_worker=False,
        )

    def __getstate__(self) -> dict[str, Any]:
        """What a worker gets: it samples, and joins no features."""
        return {**self.__dict__, "_features": None, "_positives": None}

    def begin(self, epoch: int, *, step: int = 0) -> None:
        """Position the loader at a step of an epoch; the next iteration starts there."""
        self._sampler.epoch = self.order.epoch = epoch
        self.order.skip = step * self.batch_size

    def digests(self) -> dict[str, str]:
        """Digests of the data by name: the pairs with their weights, the neighbours, features."""
        pairs = self.input_data.row.numpy(), self.input_data.col.numpy(), self._weight
        return {
            "pairs": array_digest(pairs),
            "neighbourhoods": array_digest([self._table.neighbors, self._table.weights]),
            "features": array_digest(_arrays_of(self._features)),
        }

    def filter_fn(self, out: SamplerOutput) -> MiniBatch:
        """Join the sampled nodes with features, weights and the mask of allowed negatives."""
        input_id, queries, positives, negative_M, hard_Ph, local_BT = out.metadata
        part = self._sampler.team.part(len(queries))
        query_P, positive_P = queries[part], positives[part]
        within = np.cumsum(out.num_sampled_nodes)
        weights_BT = torch.from_numpy(self._table.weights[out.node[: len(local_BT)].numpy()])
        if self._hold_out_edges:
            here = (queries >= 0) & (positives >= 0)
            ends = (queries[here].numpy(), positives[here].numpy())
            local, weights = hold_out(local_BT.numpy(), weights_BT.numpy(), *ends)
            local_BT, weights_BT = torch.from_numpy(local), torch.from_numpy(weights)
        nodes = Nodes(
            rows_S=out.node,
            features=self._features[out.node],
            neighbors_BT=local_BT,
            weights_BT=weights_BT,
            num_targets=tuple(int(n) for n in within[-2::-1]),
        )
        rows = [out.node[at].numpy() for at in (query_P, positive_P, negative_M)]
        if self._positives is None:
            allowed = not_the_pair(*rows)
        else:
            allowed = self._positives.allowed(rows[0], rows[2])
        return MiniBatch(
            nodes, query_P, positive_P, negative_M, torch.from_numpy(allowed), hard_Ph,
            log_chance_M=torch.from_numpy(self._log_chance[rows[2]]),
            weight_P=torch.from_numpy(self._weight[input_id[part].numpy()]),
            share=torch.tensor(len(query_P) / len(queries)),
        )  # fmt: skip


def _arrays_of(features: TensorFrame) -> Iterator[np.ndarray[Any, Any]]:
    for values in features.feat_dict.values():
        ragged = () if isinstance(values, Tensor) else (values.values, values.offset)
        yield from (part.numpy() for part in ragged or (values,))


Local = np.ndarray[tuple[int, int], np.dtype[np.int64]]
Weights = np.ndarray[tuple[int, int], np.dtype[np.float32]]
Positions = np.ndarray[tuple[int], np.dtype[np.int64]]


def hold_out(
    local_BT: Local, weights_BT: Weights, query_P: Positions, positive_P: Positions
) -> tuple[Local, Weights]:
    """The table without edges between the two items of a pair, either way; rows sum to 1 or 0.

    Otherwise the answer is part of the question: what a user took next is among the neighbours
    because that very user took it.
    """
    ends = np.concatenate([query_P, positive_P]), np.concatenate([positive_P, query_P])
    order = np.argsort(ends[0], kind="stable")
    start = np.searchsorted(ends[0][order], np.arange(len(local_BT) + 1))
    local, weights = local_BT.copy(), weights_BT.copy()
    _cut(local, weights, start, ends[1][order])
    return local, weights


@numba.njit(cache=True)
def _cut(local: Any, weights: Any, start: Any, partner: Any) -> None:
    for row in range(len(local)):
        if start[row] == start[row + 1]:
            continue
        total = 0.0
        for slot in range(local.shape[1]):
            for other in partner[start[row] : start[row + 1]]:
                if local[row, slot] == other:
                    local[row, slot] = -1
                    weights[row, slot] = 0.0
                    break
            total += weights[row, slot]
        if total > 0.0:
            for slot in range(local.shape[1]):
                weights[row, slot] /= total
