"""Minibatches ready for the model: PyG's LinkLoader over the neighbourhood sampler.

Producer and consumer (PinSage §3.3): `batches` makes them in a thread, ahead of the step.

Shapes: P pairs, M negatives shared by them, h hard negatives a query, S nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numba
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler
from torch_frame.data import TensorFrame
from torch_geometric.data import Data
from torch_geometric.loader import LinkLoader

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.pinsage import Nodes
from pinsage.training.catalog import Catalog, room_on, send, send_nodes, tensors_of
from pinsage.training.negatives import PositiveSets, not_the_pair
from pinsage.training.origin import array_digest, digest_of_tables
from pinsage.training.pairs import TrainingPairs
from pinsage.training.prefetch import prefetched
from pinsage.training.sampler import NeighbourhoodSampler, PairSample

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
        """The same on another device; the host does not wait for copies to a GPU."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "nodes"}
        moved = {name: send(tensor, device) for name, tensor in tensors.items()}
        return replace(self, nodes=send_nodes(self.nodes, device), **moved)

    def visit(self, see: Callable[[Tensor], object]) -> None:
        """Call `see` with each tensor."""
        for part in (self, self.nodes):
            for value in (getattr(part, field.name) for field in fields(part)):
                if isinstance(value, Tensor):
                    see(value)
        for tensor in tensors_of(self.nodes.features):
            see(tensor)


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
        tables: neighbourhoods, which epochs take turns with
        features: of all N items
        sampler: draws negatives, gathers neighbourhoods
        batch_size: pairs a step
        epoch_pairs: pairs an epoch; 0 for all
        seed: of the order of the pairs
        exclude_positives: whether no positive of a query is a negative of it
        hold_out_edges: whether the step's pairs are taken out of each other's neighbours
        workers: processes that sample ahead; 0 samples in this one
        prefetch: minibatches that a thread makes ready ahead; 0 makes each when it is asked for,
            "auto" is 2 for a GPU and 0 for the CPU
    """

    def __init__(
        self,
        training: TrainingPairs,
        tables: Sequence[Neighbourhoods],
        features: TensorFrame,
        sampler: NeighbourhoodSampler,
        *,
        batch_size: int,
        seed: int,
        epoch_pairs: int = 0,
        exclude_positives: bool = True,
        hold_out_edges: bool = False,
        workers: int = 0,
        prefetch: int | Literal["auto"] = 0,
    ) -> None:
        pairs = training.pairs
        self._tables, table = tables, tables[0]
        self._catalog = Catalog(table, features)
        self.prefetch = prefetch
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
        return {**self.__dict__, "_catalog": None, "_positives": None, "_tables": ()}

    def begin(self, epoch: int, *, step: int = 0) -> None:
        """Position the loader at a step of an epoch; the next iteration starts there."""
        self._sampler.epoch = self.order.epoch = epoch
        if len(self._tables) > 1:
            table = self._tables[epoch % len(self._tables)]
            self._catalog.take(table)
            self._sampler.take(table)
        self.order.skip = step * self.batch_size

    def digests(self) -> dict[str, str]:
        """Digests of the data by name: the pairs with their weights, the neighbours, features."""
        pairs = self.input_data.row.numpy(), self.input_data.col.numpy(), self._weight
        return {
            "pairs": array_digest(pairs),
            "neighbourhoods": digest_of_tables(self._tables),
            "features": array_digest(p.cpu().numpy() for p in tensors_of(self._catalog.features)),
        }

    @contextmanager
    def batches(self, device: torch.device) -> Iterator[Iterator[MiniBatch]]:
        """Minibatches on a device, from where `begin` has set; left early, all work ends.

        What of the catalog fits there moves to the device first.
        """
        if device.type != "cpu":
            self.place(device, room_on(device))
        depth = self.prefetch
        if depth == "auto":
            depth = 2 if device.type == "cuda" else 0
        batches = prefetched(self, device, depth) if depth else (b.to(device) for b in self)
        with closing(batches):
            yield batches

    def place(self, device: torch.device, room: int) -> None:
        """Keep what fits in `room` bytes of features and table on the device of the model."""
        # Pairs are held out of the neighbours on the host.
        self._catalog.place(device, room, table=not self._hold_out_edges)
        self._sampler.looks_up = not self._catalog.looks_up

    def collate_fn(self, index: list[int]) -> PairSample:
        """Sample a batch; PyG's own would have the neighbours as a list of edges as well."""
        return self._sampler.sample_pairs(self.input_data[index])

    def filter_fn(self, sample: PairSample) -> MiniBatch:
        """Join the sampled nodes with features, weights and the mask of allowed negatives."""
        nodes = self._catalog.nodes(sample)
        if self._hold_out_edges:
            nodes = _held_out(nodes, sample)
        part = self._sampler.team.part(len(sample.query_P))
        places = (sample.query_P[part], sample.positive_P[part], sample.negative_M)
        rows = [sample.rows_S[at].numpy() for at in places]
        if self._positives is None:
            allowed = not_the_pair(*rows)
        else:
            allowed = self._positives.allowed(rows[0], rows[2])
        return MiniBatch(
            nodes, *places, torch.from_numpy(allowed), sample.hard_Ph,
            log_chance_M=torch.from_numpy(self._log_chance[rows[2]]),
            weight_P=torch.from_numpy(self._weight[sample.input_id[part].numpy()]),
            share=torch.tensor(len(places[0]) / len(sample.query_P)),
        )  # fmt: skip


def _held_out(nodes: Nodes, sample: PairSample) -> Nodes:
    """Without the edges of the whole batch's pairs, as far as both ends are here."""
    here = (sample.query_P >= 0) & (sample.positive_P >= 0)
    ends = sample.query_P[here].numpy(), sample.positive_P[here].numpy()
    cut = hold_out(nodes.neighbors_BT.numpy(), nodes.weights_BT.numpy(), *ends)
    neighbors_BT, weights_BT = (torch.from_numpy(part) for part in cut)
    return replace(nodes, neighbors_BT=neighbors_BT, weights_BT=weights_BT)


Local = np.ndarray[tuple[int, int], np.dtype[np.int32]]
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


@numba.njit(cache=True, nogil=True)
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
