"""What of the catalog is on the device, and that looking up there gives the same minibatches."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import torch

from pinsage.training.catalog import Catalog, room_on, tensors_of
from pinsage.training.loader import PairLoader
from pinsage.training.sampler import NeighbourhoodSampler
from tests.training.same_batches import assert_same_batches

CPU, META = torch.device("cpu"), torch.device("meta")
MakeLoader = Callable[..., PairLoader]


def test_a_table_on_the_device_gives_the_same_minibatches(make_loader: MakeLoader) -> None:
    usual, resident = make_loader(), make_loader()
    resident.place(CPU, room=1 << 30)
    for epoch in (0, 1):
        usual.begin(epoch)
        resident.begin(epoch)
        assert_same_batches(list(resident), list(usual))


def test_the_sampler_then_leaves_the_look_up_to_it(
    make_loader: MakeLoader, make_sampler: Callable[..., NeighbourhoodSampler]
) -> None:
    loader = make_loader()
    loader.place(CPU, room=1 << 30)
    sample = loader.collate_fn([0, 1])
    assert sample.local_BT.shape[0] == 0
    assert make_loader().collate_fn([0, 1]).local_BT.shape[0] == sample.num_nodes[1]


def test_pairs_are_held_out_on_the_host(make_loader: MakeLoader) -> None:
    usual, placed = (make_loader(hold_out_edges=True) for _ in range(2))
    placed.place(CPU, room=1 << 30)
    assert placed.collate_fn([0]).local_BT.shape[0] > 0
    assert_same_batches(list(placed), list(usual))


def test_features_go_first_and_then_the_table_as_far_as_there_is_room(
    town: SimpleNamespace,
) -> None:
    # 50 items, 4 neighbours of 4 + 4 bytes; an int64 and a float32 column
    table, features = 50 * 4 * 8, 50 * (8 + 4)
    assert sum(part.nbytes for part in tensors_of(town.features)) == features
    for room, there in {
        features - 1: ("cpu", False),
        table - 1: ("meta", False),
        table + features - 1: ("meta", False),
        table + features: ("meta", True),
    }.items():
        catalog = Catalog(town.table, town.features)
        catalog.place(META, room, table=True)
        assert (catalog.features_on.type, catalog.looks_up) == there


def test_what_is_there_already_takes_no_room(town: SimpleNamespace) -> None:
    catalog = Catalog(town.table, town.features)
    catalog.place(META, 600, table=False)
    catalog.place(META, 1600, table=True)
    assert (catalog.features_on.type, catalog.looks_up) == ("meta", True)


def test_a_minibatch_is_put_together_from_two_devices(make_loader: MakeLoader) -> None:
    loader = make_loader()
    loader.place(META, room=1 << 30)
    batch = next(iter(loader))
    seen: list[torch.Tensor] = []
    batch.visit(seen.append)
    assert {tensor.device.type for tensor in seen} == {"meta", "cpu"}
    seen.clear()
    batch.to(META).visit(seen.append)
    assert {tensor.device.type for tensor in seen} == {"meta"}
    assert len(seen) == 8 + 3 + 2
    assert batch.nodes.weights_BT.shape == batch.nodes.neighbors_BT.shape


def test_a_device_that_is_no_gpu_has_no_room() -> None:
    assert room_on(META) == 0
