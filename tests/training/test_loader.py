"""Minibatches: what is in them, in which order, and that workers change nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pinsage.config import NeighbourhoodConfig
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods
from pinsage.training.loader import EpochOrder, PairLoader
from pinsage.training.sampler import NeighbourhoodSampler
from tests.training.same_batches import assert_same_batches

MakeLoader = Callable[..., PairLoader]


def test_an_epoch_holds_every_pair_once(town: SimpleNamespace, make_loader: MakeLoader) -> None:
    loader = make_loader()
    loader.begin(0)
    seen = [
        pair
        for batch in loader
        for pair in zip(
            batch.nodes.rows_S[batch.query_P].tolist(),
            batch.nodes.rows_S[batch.positive_P].tolist(),
            strict=True,
        )
    ]
    pairs = list(zip(town.pairs.query_row.tolist(), town.pairs.positive_row.tolist(), strict=True))
    assert sorted(seen) == sorted(pairs)
    assert seen != pairs
    assert len(loader) == -(-len(pairs) // 32)


def test_a_batch_carries_features_and_weights_of_its_nodes(
    town: SimpleNamespace, make_loader: MakeLoader
) -> None:
    nodes = next(iter(make_loader())).nodes
    inner = nodes.rows_S[: len(nodes.neighbors_BT)].numpy()
    np.testing.assert_array_equal(nodes.weights_BT, town.table.weights[inner])
    assert nodes.features == town.features[nodes.rows_S]
    assert nodes.num_targets[0] == len(inner) > nodes.num_targets[1]


def test_allowed_negatives_are_neither_the_query_nor_a_positive_of_it(
    town: SimpleNamespace, make_loader: MakeLoader
) -> None:
    pairs = set(zip(town.pairs.query_row.tolist(), town.pairs.positive_row.tolist(), strict=True))
    forbidden = 0
    for batch in make_loader():
        rows = batch.nodes.rows_S
        for p, query in enumerate(rows[batch.query_P].tolist()):
            for m, negative in enumerate(rows[batch.negative_M].tolist()):
                allowed = query != negative and (query, negative) not in pairs
                assert batch.allowed_PM[p, m] == allowed
                forbidden += not allowed
    assert forbidden > 50


def test_workers_change_nothing(make_loader: MakeLoader) -> None:
    epochs = []
    for workers in (0, 2):
        loader = make_loader(workers=workers)
        loader.begin(3, step=1)
        epochs.append(list(loader))
    assert_same_batches(*epochs)


def test_an_epoch_can_be_entered_at_any_step(make_loader: MakeLoader) -> None:
    loader = make_loader()
    loader.begin(1)
    whole = list(loader)
    for step in (0, 1, 3, len(whole)):
        loader.begin(1, step=step)
        assert len(loader) == len(whole) - step
        assert_same_batches(list(loader), whole[step:])


def test_an_epoch_of_a_share_of_the_pairs_begins_the_permutation_of_all() -> None:
    whole, share = EpochOrder(10, seed=1), EpochOrder(10, size=4, seed=1)
    assert list(share) == list(whole)[:4]
    share.skip = 3
    assert (len(share), list(share)) == (1, list(whole)[3:4])
    assert len(EpochOrder(3, size=4, seed=1)) == 3


def test_epochs_differ_in_order_and_negatives(make_loader: MakeLoader) -> None:
    loader = make_loader()
    firsts = []
    for epoch in (0, 1):
        loader.begin(epoch)
        batch = next(iter(loader))
        firsts.append(
            [batch.nodes.rows_S[part].tolist() for part in (batch.query_P, batch.negative_M)]
        )
    assert firsts[0][0] != firsts[1][0]
    assert firsts[0][1] != firsts[1][1]


def test_a_memory_mapped_table_serves_as_well(
    town: SimpleNamespace,
    make_loader: MakeLoader,
    make_sampler: Callable[..., NeighbourhoodSampler],
    tmp_path: Path,
) -> None:
    np.save(tmp_path / "neighbors.npy", town.table.neighbors)
    np.save(tmp_path / "weights.npy", town.table.weights)
    mapped = Neighbourhoods.open(tmp_path)
    sampler = NeighbourhoodSampler(mapped, hops=2, negatives=make_sampler().negatives)
    loader = PairLoader(town.training, [mapped], town.features, sampler, batch_size=32, seed=1)
    assert_same_batches(list(loader), list(make_loader()))


@pytest.mark.parametrize("place", [False, True])
def test_epochs_take_turns_with_the_tables(
    town: SimpleNamespace, make_sampler: Callable[..., NeighbourhoodSampler], place: bool
) -> None:
    other = build_neighbourhoods(town.graph, NeighbourhoodConfig(size=6), 99)
    tables = [town.table, other]
    turning = PairLoader(
        town.training, tables, town.features, make_sampler(), batch_size=32, seed=1
    )
    if place:
        turning.place(torch.device("cpu"), 1 << 30)
    for epoch in (0, 1, 2, 1):
        own = make_sampler()
        own.take(tables[epoch % 2])
        alone = PairLoader(
            town.training, [tables[epoch % 2]], town.features, own, batch_size=32, seed=1
        )
        for loader in (turning, alone):
            loader.begin(epoch)
        assert_same_batches(list(turning), list(alone))
