"""What baselines are built from: the training period and the catalog, and nothing later."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pinsage.content.columns import Content
from pinsage.data.pairs import Pairs
from pinsage.evaluation.baselines.item2vec import Sequences
from pinsage.graph.bipartite import BipartiteGraph


@dataclass(frozen=True)
class Evidence:
    """The training period, each view of it opened when a baseline asks for it.

    Attributes:
        graph: of the training period
        pairs: its consecutive interactions
        interactions: its Parquet file, with user_row, item_row and timestamp
        content: of the catalog, where it has feature columns
        seed: of every draw
    """

    graph: BipartiteGraph
    pairs: Pairs
    interactions: Path
    content: Content | None
    seed: int

    @cached_property
    def sequences(self) -> Sequences:
        """What each user took, oldest first."""
        return Sequences.read(self.interactions, self.graph.num_items, self.seed)
