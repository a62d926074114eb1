"""The catalog's features and table: on the model's device as far as they fit, else on the host.

What is on the device is looked up there, so that of a minibatch only row numbers travel.

Shapes: N items, T neighbours, S nodes of a minibatch, B of them with neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_frame.data import TensorFrame

from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.model.pinsage import Nodes
from pinsage.training.sampler import PairSample

_SHARE = 0.5  # of the free memory; the rest is for the step, whose size is not known here


class Catalog:
    """What minibatches are joined with.

    Attributes:
        table: neighbourhoods of all N items
        features: of all N items
    """

    def __init__(self, table: Neighbourhoods, features: TensorFrame) -> None:
        self.table = table
        self.features = features
        self._resident: _DeviceTable | None = None

    @property
    def looks_up(self) -> bool:
        """Whether `nodes` finds the neighbours' positions itself."""
        return self._resident is not None

    @property
    def features_on(self) -> torch.device:
        """The device of the features."""
        device: torch.device = self.features.device
        return device

    def place(self, device: torch.device, room: int, *, table: bool) -> None:
        """Move to the device what fits in `room` bytes: features first, then the table.

        What is already there stays. `table` says whether the table may go.
        """
        size = sum(part.nbytes for part in tensors_of(self.features))
        if self.features_on != device and size <= room:
            self.features = self.features.to(device)
            room -= size
        size = self.table.neighbors.nbytes + self.table.weights.nbytes
        if table and self._resident is None and size <= room:
            self._resident = _DeviceTable(self.table, device)

    def take(self, table: Neighbourhoods) -> None:
        """Go on with another table of the same items, where the one before was."""
        self.table = table
        if self._resident is not None:
            self._resident = _DeviceTable(table, self._resident.device)

    def nodes(self, sample: PairSample) -> Nodes:
        """The sampled nodes with features and weights, each on the device where it lives."""
        rows_S, count = sample.rows_S, sample.num_nodes[-2] if len(sample.num_nodes) > 1 else 0
        if self._resident is not None:
            there_S = send(rows_S, self._resident.device)
            neighbors_BT, weights_BT = self._resident.look_up(there_S, count)
        else:
            neighbors_BT = sample.local_BT
            weights_BT = torch.from_numpy(self.table.weights[rows_S[:count].numpy()])
        rows_S = send(rows_S, self.features_on)
        return Nodes(rows_S, self.features[rows_S], neighbors_BT, weights_BT, sample.num_targets)


class _DeviceTable:
    """The table of neighbours as tensors, and a scratch of one number an item."""

    def __init__(self, table: Neighbourhoods, device: torch.device) -> None:
        # Copies: an artifact's arrays are mapped read-only, which torch warns about.
        self._neighbors_NT = torch.from_numpy(np.array(table.neighbors)).to(device)
        self._weights_NT = torch.from_numpy(np.array(table.weights)).to(device)
        self._position_N = torch.empty(table.num_items, dtype=torch.int32, device=device)
        self.device = self._position_N.device

    def look_up(self, rows_S: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Positions in `rows_S` of the neighbours of its first `count` (B), and their weights.

        Needs every neighbour to be in `rows_S`: of other items the scratch says nothing.
        """
        places_S = torch.arange(len(rows_S), dtype=torch.int32, device=self.device)
        self._position_N[rows_S] = places_S
        near_BT = self._neighbors_NT[rows_S[:count]]
        local_BT = self._position_N[near_BT.clamp(min=0).long()]
        return local_BT.masked_fill_(near_BT < 0, -1), self._weights_NT[rows_S[:count]]


def room_on(device: torch.device) -> int:
    """Bytes of a GPU that the catalog may take: half of what is free."""
    return int(torch.cuda.mem_get_info(device)[0] * _SHARE) if device.type == "cuda" else 0


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; to a GPU through pinned memory, which the host need not wait for."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def send_nodes(nodes: Nodes, device: torch.device) -> Nodes:
    """The same for nodes."""
    features = nodes.features
    if device.type == "cuda" and features.device.type == "cpu":
        features = features.pin_memory().to(device, non_blocking=True)
    return Nodes(
        send(nodes.rows_S, device),
        features.to(device),
        send(nodes.neighbors_BT, device),
        send(nodes.weights_BT, device),
        nodes.num_targets,
    )


def tensors_of(features: TensorFrame) -> Iterator[Tensor]:
    """All tensors that features consist of."""
    values: list[Any] = list(features.feat_dict.values())
    for value in values:
        # Ragged columns of pytorch-frame are two tensors.
        yield from (value,) if isinstance(value, Tensor) else (value.values, value.offset)
