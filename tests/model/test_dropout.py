"""Whose id vector is hidden: a function of the key and the row, and of nothing else."""

from __future__ import annotations

import pytest
import torch

from pinsage.model.dropout import hidden

WORD = (1 << 64) - 1


def mixed(word: int) -> int:
    """SplitMix64's mixing function, on Python's integers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


@pytest.mark.parametrize("key", [0, 1, 2018 * 1_000_003 + 77, 2**63, -5])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_it_equals_splitmix_in_pythons_integers(key: int, share: float) -> None:
    rows = [0, 1, 2, 3, 999, 2**31 - 1, 2**40 + 1]
    start = mixed(key & WORD)
    draws = [mixed((start + row * 0x9E3779B97F4A7C15) & WORD) / 2**64 for row in rows]
    assert hidden(torch.tensor(rows), key, share).tolist() == [draw < share for draw in draws]


def test_an_item_is_hidden_alike_in_any_batch() -> None:
    whole = hidden(torch.arange(1000), 7, 0.3)
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(hidden(order, 7, 0.3), whole[order])
    assert torch.equal(hidden(order[:3], 7, 0.3), whole[order[:3]])


def test_the_share_is_hidden_anew_with_every_key() -> None:
    draws = torch.stack([hidden(torch.arange(5000), key, 0.3) for key in range(40)]).float()
    # Standard errors: sqrt(.21 / 200,000) = .001 of all; sqrt(.21 / 40) = .072 of one item.
    assert draws.mean().item() == pytest.approx(0.3, abs=0.005)
    assert draws.mean(dim=0).std().item() == pytest.approx(0.0725, abs=0.004)
    assert draws.mean(dim=1).std().item() == pytest.approx(0.0065, abs=0.003)
    apart = torch.corrcoef(draws[:12])
    assert (apart - torch.eye(12)).abs().max() < 0.06
