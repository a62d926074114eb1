"""The walks of `walks.py` as tensor operations, for a GPU: the same table to the bit (§3.1).

All walks of a block of items take their hop at once; those that end are left out of the next.
Randomness is counter-based, so a hop's draw is the kernel's whatever else is in the block, and all
of it is integers but one division in float64, which IEEE 754 rounds alike everywhere. Neighbours
are the most visited items; of equal counts the one met first, by (hop, walk), comes first.

Legend: B items of a block, P walks still going, V visits of the block, G distinct (item,
neighbour) pairs among them, T neighbours kept. A degree must be below 2^31, since the high half of
a draw times a degree has to fit into an int64.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import GraphError
from pinsage.graph.bipartite import BipartiteGraph, Indices, Indptr, Thresholds
from pinsage.graph.splitmix import GOLDEN, below, mixed, shifted, signed
from pinsage.graph.walks import EMPTY, end_threshold

_LOW = 0xFFFFFFFF
_BYTES_A_VISIT = 160  # the walk's state, the visit, and the sorts' copies of it
_BYTES_A_NEIGHBOUR = 16  # a place in the table, on the device and copied from there
_BLOCK_BYTES = 1 << 30
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Csr:
    """One direction of the graph on the device; `thresholds` are the uint32's bits as int32."""

    indptr: Tensor
    indices: Tensor
    thresholds: Tensor | None
    max_degree: int

    @classmethod
    def on(
        cls, device: torch.device, indptr: Indptr, indices: Indices, thresholds: Thresholds | None
    ) -> _Csr:
        degree = int(np.diff(indptr).max(initial=0))
        if degree >= 1 << 31:
            raise GraphError(
                f"a row of the graph has {degree:,} edges, and walks on a GPU take fewer than "
                f"{1 << 31:,} a row; set neighbourhoods.device to cpu"
            )
        # Arrays of an artifact are mapped read-only, which torch warns of: copy them once.
        bits = None if thresholds is None else thresholds.view(np.int32)
        return cls(
            torch.from_numpy(np.array(indptr)).to(device),
            torch.from_numpy(np.array(indices)).to(device),
            None if bits is None else torch.from_numpy(np.array(bits)).to(device),
            degree,
        )

    def step(self, rows_P: Tensor, halves_P: Tensor) -> Tensor:
        """Where 32 random bits lead from each row, none of which may be empty; int64 [P]."""
        start_P = self.indptr[rows_P]
        degree_P = self.indptr[rows_P + 1] - start_P
        if self.thresholds is None:
            return self.indices[start_P + ((halves_P * degree_P) >> 32)].long()
        low_P, high_P = start_P, start_P + degree_P - 1
        for _ in range(max(self.max_degree - 1, 0).bit_length()):
            middle_P = (low_P + high_P) >> 1
            reaches_P = (self.thresholds[middle_P].long() & _LOW) >= halves_P
            low_P = torch.where(reaches_P, low_P, middle_P + 1)
            high_P = torch.where(reaches_P, middle_P, high_P)
        return self.indices[low_P].long()


class TensorWalks:
    """A graph on a device, walked block by block of items.

    `memory`, in bytes, bounds what a block takes beside the graph: the block has as many items as
    fit, one at the least. Raises GraphError for `stop_when_stable`, which walks one by one, and
    for a row with 2^31 edges.
    """

    def __init__(
        self,
        graph: BipartiteGraph,
        settings: NeighbourhoodConfig,
        seed: int,
        device: torch.device | str,
        *,
        memory: int = _BLOCK_BYTES,
    ) -> None:
        if settings.stop_when_stable:
            raise GraphError(
                "neighbourhoods.stop_when_stable looks at an item's walks one after the other, and "
                "a GPU takes them all at once; set it to 0, or neighbourhoods.device to cpu"
            )
        self._device = torch.device(device)
        self._settings, self._seed = settings, seed
        self._num_items = graph.num_items
        self._degree = graph.item_degree
        self._threshold = int(end_threshold(settings.restart))
        visits = settings.walks * settings.length
        an_item = visits * _BYTES_A_VISIT + settings.size * _BYTES_A_NEIGHBOUR
        self._block = max(1, memory // an_item)
        self._items = _Csr.on(
            self._device, graph.item_indptr, graph.item_indices, graph.item_thresholds
        )
        self._contexts = _Csr.on(
            self._device, graph.context_indptr, graph.context_indices, graph.context_thresholds
        )

    def __call__(self, items: Indices) -> tuple[Indices, npt.NDArray[np.float32]]:
        """Rows of the table for some items: neighbours int32 [B, T] and weights float32 [B, T]."""
        shape = (len(items), self._settings.size)
        neighbors = np.full(shape, EMPTY, dtype=np.int32)
        weights = np.zeros(shape, dtype=np.float32)
        places = np.flatnonzero(self._degree[items] > 0)  # no walk leaves the others
        for first in range(0, len(places), self._block):
            block = places[first : first + self._block]
            near_BT, weights_BT = self._rows(items[block].astype(np.int64))
            neighbors[block], weights[block] = near_BT.cpu().numpy(), weights_BT.cpu().numpy()
        return neighbors, weights

    def _rows(self, items: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        items_B = torch.from_numpy(items).to(self._device)
        place_V, item_V = self._visits(items_B)
        return self._most_visited(len(items), place_V, item_V)

    def _visits(self, items_B: Tensor) -> tuple[Tensor, Tensor]:
        """Every visit but the item's own to itself: its place in the block, and the item met.

        For one item they come by (hop, walk), the order that breaks ties.
        """
        walks, length = self._settings.walks, self._settings.length
        walk = torch.arange(walks, device=self._device)
        state_B = mixed(items_B + signed(self._seed * GOLDEN))
        key_P = mixed((state_B[:, None] + walk * signed(GOLDEN)).reshape(-1))
        place_P = torch.arange(len(items_B), device=self._device).repeat_interleave(walks)
        item_P = start_P = items_B.repeat_interleave(walks)
        places, met = [], []
        for hop in range(length):
            draw_P = mixed(key_P + signed((2 * hop + 1) * GOLDEN))
            context_P = self._items.step(item_P, shifted(draw_P, 32))
            item_P = self._contexts.step(context_P, draw_P & _LOW)
            is_other_P = item_P != start_P
            places.append(place_P[is_other_P])
            met.append(item_P[is_other_P])
            if hop + 1 < length:
                going_P = ~below(mixed(key_P + signed((2 * hop + 2) * GOLDEN)), self._threshold)
                key_P, place_P = key_P[going_P], place_P[going_P]
                item_P, start_P = item_P[going_P], start_P[going_P]
        return torch.cat(places), torch.cat(met)

    def _most_visited(self, num: int, place_V: Tensor, item_V: Tensor) -> tuple[Tensor, Tensor]:
        """The T most visited items of each place, [B, T], and the shares of their visits."""
        size = self._settings.size
        # A stable sort keeps the visits of a pair in order, so that its first is its first visit.
        pair_V, order_V = torch.sort(place_V * self._num_items + item_V, stable=True)
        pair_G, count_G = torch.unique_consecutive(pair_V, return_counts=True)
        first_G = order_V[count_G.cumsum(0) - count_G]
        by_visit_G = torch.argsort(first_G)
        pair_G, count_G = pair_G[by_visit_G], count_G[by_visit_G]
        place_G = pair_G // self._num_items
        most = self._settings.walks * self._settings.length
        order_G = torch.argsort(place_G * (most + 1) + (most - count_G), stable=True)
        pair_G, count_G, place_G = pair_G[order_G], count_G[order_G], place_G[order_G]
        found_B = torch.bincount(place_G, minlength=num)
        before_B = found_B.cumsum(0) - found_B
        rank_G = torch.arange(len(place_G), device=self._device) - before_B[place_G]
        kept = rank_G < size
        place_K, rank_K, count_K = place_G[kept], rank_G[kept], count_G[kept]
        total_B = torch.zeros(num, dtype=torch.int64, device=self._device)
        total_B.index_add_(0, place_K, count_K)
        near_BT = torch.full((num, size), EMPTY, dtype=torch.int32, device=self._device)
        near_BT[place_K, rank_K] = (pair_G[kept] % self._num_items).int()
        weights_BT = torch.zeros((num, size), device=self._device)
        weights_BT[place_K, rank_K] = (count_K.double() / total_B[place_K].double()).float()
        return near_BT, weights_BT


def walks_on_gpu(
    graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int
) -> TensorWalks | None:
    """Walks on the GPU of `neighbourhoods.device`, or None where `auto` means the CPU.

    `auto` does where there is no GPU, where the graph does not fit on it, and where walks stop
    early. Raises GraphError where `cuda` is asked for and cannot be had.
    """
    if settings.device == "auto" and (settings.stop_when_stable or not torch.cuda.is_available()):
        return None
    if not torch.cuda.is_available():
        raise GraphError(
            "neighbourhoods.device is cuda, and torch sees no GPU; set it to auto or cpu, or "
            "install a torch build for this GPU's driver"
        )
    free, needed = torch.cuda.mem_get_info()[0], graph_bytes(graph) + 2 * _BLOCK_BYTES
    if needed > free:
        found = f"the graph and its walks need {needed:,} bytes and the GPU has {free:,}"
        if settings.device == "cuda":
            raise GraphError(f"{found} free; set neighbourhoods.device to cpu or auto")
        _log.warning("%s free: walking on the CPU", found)
        return None
    return TensorWalks(graph, settings, seed, "cuda")


def graph_bytes(graph: BipartiteGraph) -> int:
    """Bytes of the graph's arrays, on disk as on a device."""
    arrays = (
        graph.item_indptr, graph.item_indices, graph.item_thresholds,
        graph.context_indptr, graph.context_indices, graph.context_thresholds,
    )  # fmt: skip
    return sum(array.nbytes for array in arrays if array is not None)
