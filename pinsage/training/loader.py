"""Minibatches ready for the model: PyG's LinkLoader over the neighbourhood sampler.

Shapes: P pairs, M shared negatives, S nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_frame.data import TensorFrame
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import SamplerOutput

from pinsage.data.pairs import Pairs
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.pinsage import Nodes
from pinsage.training.sampler import NeighbourhoodSampler

_CHUNK = 1 << 16


@dataclass(frozen=True)
class MiniBatch:
    """One step's input.

    Attributes:
        nodes: the nodes to compute on
        query_P, positive_P, negative_M: int64 positions among the targets of the last layer
        allowed_PM: bool, False where a negative is the query itself or a positive of it
    """

    nodes: Nodes
    query_P: Tensor
    positive_P: Tensor
    negative_M: Tensor
    allowed_PM: Tensor

    def to(self, device: torch.device) -> MiniBatch:
        """The same on another device."""
        tensors = ("query_P", "positive_P", "negative_M", "allowed_PM")
        moved = {name: getattr(self, name).to(device) for name in tensors}
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
    """Loads minibatches of training pairs with shared negatives.

    Args:
        pairs: queries and their positives
        table: neighbourhoods
        features: of all N items
        sampler: draws negatives, gathers neighbourhoods
        batch_size: pairs a step
        epoch_pairs: pairs an epoch; 0 for all
        seed: of the order of the pairs
        workers: processes that sample ahead; 0 samples in this one
    """

    def __init__(
        self,
        pairs: Pairs,
        table: Neighbourhoods,
        features: TensorFrame,
        sampler: NeighbourhoodSampler,
        *,
        batch_size: int,
        seed: int,
        epoch_pairs: int = 0,
        workers: int = 0,
    ) -> None:
        self._table = table
        self._features = features
        self._positives = PositiveSets(pairs, table.num_items)
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

    def filter_fn(self, out: SamplerOutput) -> MiniBatch:
        """Join the sampled nodes with features, weights and the mask of allowed negatives."""
        _, query_P, positive_P, negative_M, local_BT = out.metadata
        within = np.cumsum(out.num_sampled_nodes)
        weights_BT = self._table.weights[out.node[: len(local_BT)].numpy()]
        nodes = Nodes(
            rows_S=out.node,
            features=self._features[out.node],
            neighbors_BT=local_BT,
            weights_BT=torch.from_numpy(weights_BT),
            num_targets=tuple(int(n) for n in within[-2::-1]),
        )
        allowed = self._positives.allowed(out.node[query_P].numpy(), out.node[negative_M].numpy())
        return MiniBatch(nodes, query_P, positive_P, negative_M, torch.from_numpy(allowed))


class PositiveSets:
    """The positives of every query, as a CSR, to keep them from being its negatives."""

    def __init__(self, pairs: Pairs, num_items: int) -> None:
        packed = np.unique(pairs.query_row.astype(np.int64) * num_items + pairs.positive_row)
        query, self._positive = np.divmod(packed, num_items)
        self._indptr = np.zeros(num_items + 1, dtype=np.int64)
        np.cumsum(np.bincount(query, minlength=num_items), out=self._indptr[1:])
        self._stamp = np.full(num_items, -1, dtype=np.int64)

    def allowed(
        self, query_P: npt.NDArray[np.int64], negative_M: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.bool_]:
        """Bool [P, M]: False where a negative is the query or one of its positives."""
        mask = np.ones((len(query_P), len(negative_M)), dtype=np.bool_)
        _forbid(query_P, negative_M, self._indptr, self._positive, self._stamp, mask)
        return mask


@numba.njit(cache=True)
def _forbid(query: Any, negative: Any, indptr: Any, positive: Any, stamp: Any, mask: Any) -> None:
    for column, item in enumerate(negative):
        stamp[item] = column
    for row, item in enumerate(query):
        if stamp[item] >= 0:
            mask[row, stamp[item]] = False
        for other in positive[indptr[item] : indptr[item + 1]]:
            if stamp[other] >= 0:
                mask[row, stamp[other]] = False
    for item in negative:
        stamp[item] = -1
