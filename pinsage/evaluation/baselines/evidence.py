"""What baselines are built from: the training period and the catalog, and nothing later."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pinsage.content.columns import Content
from pinsage.data.pairs import Pairs, consecutive_pairs
from pinsage.evaluation.baselines.item2vec import Sequences
from pinsage.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class Evidence:
    """The training period, each view of it opened when a baseline asks for it.

    Attributes:
        graph: of the training period
        interactions: its Parquet file, with user_row, item_row and timestamp
        content: of the catalog, where it has feature columns
        seed: of every draw
    """

    graph: BipartiteGraph
    interactions: Path
    content: Content | None
    seed: int

    def pairs(self, *, window: int, equal_times: Literal["drop", "both"]) -> Pairs:
        """Its interactions with each of the user's next `window` ones, see `consecutive_pairs`."""
        return consecutive_pairs(self.interactions, equal_times=equal_times, window=window)

    @cached_property
    def sequences(self) -> Sequences:
        """What each user took, oldest first."""
        return Sequences.read(self.interactions, self.graph.num_items, self.seed)
