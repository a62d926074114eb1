"""No self-deception: a step's own pairs are out of its neighbourhoods."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.training.loader import PairLoader, hold_out


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=8),
    seed=st.integers(0, 1000),
)
def test_it_equals_a_set_of_pairs(pairs: list[tuple[int, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    local = np.array([rng.permutation(8)[:4] for _ in range(6)])
    local[rng.random(local.shape) < 0.2] = -1
    weights = np.where(local >= 0, rng.random(local.shape), 0).astype(np.float32)
    query, positive = np.array(pairs).T
    held, rescaled = hold_out(local, weights, query, positive)
    for row in range(6):
        kept = [
            v >= 0 and (row, v) not in pairs and (v, row) not in pairs for v in local[row].tolist()
        ]
        assert held[row].tolist() == [v if k else -1 for v, k in zip(local[row], kept, strict=True)]
        expected = np.where(kept, weights[row], 0)
        touched = any(row in pair for pair in pairs)
        if touched and expected.sum() > 0:
            expected = expected / expected.sum()
        np.testing.assert_allclose(rescaled[row], expected, rtol=1e-5)


def test_a_loader_holds_its_pairs_out_and_the_rows_still_sum_to_one(
    town: SimpleNamespace, make_loader: Callable[..., PairLoader]
) -> None:
    found = 0
    for held, whole in zip(make_loader(hold_out_edges=True), make_loader(), strict=True):
        nodes = held.nodes
        pairs = {*zip(held.query_P.tolist(), held.positive_P.tolist(), strict=True)}
        for row, near in enumerate(nodes.neighbors_BT.tolist()):
            assert not any((row, v) in pairs or (v, row) in pairs for v in near)
        found += int((nodes.neighbors_BT != whole.nodes.neighbors_BT).sum())
        sums = nodes.weights_BT.sum(dim=1)
        assert torch.minimum(sums.abs(), (sums - 1).abs()).max() < 1e-5
    assert found > 20
    assert (town.table.neighbors >= 0).any()
