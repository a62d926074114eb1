"""Exact ranks on a torch device, a GPU: the same counts as `exact.rank_on_cpu`.

The product may be rounded in another order there, which the error bound covers; what is close to a
positive is computed again in float64. Two items whose float64 scores differ in the last bit only
may tie on one device and not on the other.

Shapes: B queries, P pairs, M items of a tile, d dimensions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinsage.evaluation.exact import (
    SPARE,
    Block,
    Float64,
    RankBlock,
    Rows,
    Vectors,
    margins,
    settle,
)

_TILE_ITEMS = 65_536
_PAIRS_AT_ONCE = 2048


def ranker_on(device: str, items: Vectors) -> RankBlock:
    """A `RankBlock` whose items live on the device: N × d × 4 bytes there."""
    items_ND = torch.tensor(items, device=device)

    def rank(block: Block, items: Vectors, top: int) -> tuple[Float64, Rows]:
        return _rank(block, items, items_ND, top)

    return rank


def _rank(block: Block, items: Vectors, items_ND: Tensor, top: int) -> tuple[Float64, Rows]:
    device = items_ND.device
    queries_BD = torch.tensor(block.vectors, device=device)
    of_query_P = torch.tensor(block.of_query, device=device)
    rows_B = torch.tensor(block.rows, device=device).long()
    positives_P = torch.tensor(block.positives, device=device).long()
    targets_P = _dots(queries_BD[of_query_P], items_ND[positives_P])
    low, high = (torch.tensor(m, device=device) for m in margins(targets_P.cpu().numpy(), block))
    above_P, level_P = torch.zeros((2, len(targets_P)), dtype=torch.int64, device=device)
    held = min(top + SPARE, len(items) - 1)
    best = _Best.empty(len(rows_B), held, device)
    for first in range(0, len(items), _TILE_ITEMS):
        tile_MD = items_ND[first : first + _TILE_ITEMS]
        scores_BM = queries_BD @ tile_MD.T
        for start in range(0, len(of_query_P), _PAIRS_AT_ONCE):
            some = slice(start, start + _PAIRS_AT_ONCE)
            scores_PM = scores_BM[of_query_P[some]]
            above_PM = scores_PM > high[some].unsqueeze(1)
            above_P[some] += above_PM.sum(dim=1)
            pair, item = ((scores_PM >= low[some].unsqueeze(1)) & ~above_PM).nonzero(as_tuple=True)
            pair += start
            exact = _dots(queries_BD[of_query_P[pair]], tile_MD[item])
            above_P.index_add_(0, pair, (exact > targets_P[pair]).long())
            level_P.index_add_(0, pair, (exact == targets_P[pair]).long())
        best = best.with_tile(scores_BM, first, rows_B)
    own_P = _dots(queries_BD, items_ND[rows_B])[of_query_P]
    above_P -= (own_P > targets_P).long()
    level_P -= 1 + (own_P == targets_P).long()
    ranks = 1.0 + above_P.double() + 0.5 * level_P.double()
    settled: Any = settle(
        block.vectors, items, block.rows, best.rows(), best.scores(), block.errors, top
    )
    return ranks.cpu().numpy(), settled


def _dots(left: Tensor, right: Tensor) -> Tensor:
    """Row by row, in float64."""
    return (left.double() * right.double()).sum(dim=1)


class _Best:
    """The best items of each query so far, by rounded score."""

    def __init__(self, scores_BK: Tensor, rows_BK: Tensor) -> None:
        self._scores_BK = scores_BK
        self._rows_BK = rows_BK

    @classmethod
    def empty(cls, num_queries: int, held: int, device: torch.device) -> _Best:
        return cls(
            torch.full((num_queries, held), -torch.inf, device=device),
            torch.full((num_queries, held), -1, dtype=torch.int64, device=device),
        )

    def with_tile(self, scores_BM: Tensor, first: int, rows_B: Tensor) -> _Best:
        own = rows_B - first
        inside = (own >= 0) & (own < scores_BM.shape[1])
        scores_BM[inside.nonzero().squeeze(1), own[inside]] = -torch.inf
        held = self._scores_BK.shape[1]
        top, place = scores_BM.topk(min(held, scores_BM.shape[1]), dim=1)
        scores = torch.cat([self._scores_BK, top], dim=1)
        rows = torch.cat([self._rows_BK, place + first], dim=1)
        kept, place = scores.topk(held, dim=1)
        return _Best(kept, rows.gather(1, place))

    def rows(self) -> Rows:
        return self._rows_BK.cpu().numpy().astype(np.int32)

    def scores(self) -> Vectors:
        return self._scores_BK.cpu().numpy()
