"""item2vec: skip-gram over the sequences in which users took items, by the library gensim.

Barkan & Koenigstein, "Item2Vec: Neural Item Embedding for Collaborative Filtering", MLSP 2016;
how far its settings for words are from the best for items: Caselles-Dupré et al., "Word2vec
applied to recommendation: hyperparameters matter", RecSys 2018.

Invariant: one seed gives the same vectors, bit for bit, whatever Python's hash seed or the number
of threads: one worker takes the sequences in their order, and draws from one generator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from pinsage.content.columns import unit_rows
from pinsage.evaluation.baselines.vectors import Matrix, vector_scorer
from pinsage.evaluation.embeddings import EmbeddingScorer

_LONGEST = 10_000  # gensim silently ignores what comes after so many items of one sequence
_ALPHA, _NEGATIVES = 0.05, 5


@dataclass(frozen=True)
class Sequences:
    """What each user took, oldest first. Iterates, as often as asked, over lists of row names.

    Attributes:
        item_row: int32 [E], all users' items, one user after the other
        bounds: int64 [S + 1], where each sequence begins; none is longer than 10,000
        num_items: N
    """

    item_row: npt.NDArray[np.int32]
    bounds: npt.NDArray[np.int64]
    num_items: int

    @classmethod
    def of(
        cls,
        user_row: npt.NDArray[np.integer[Any]],
        item_row: npt.NDArray[np.integer[Any]],
        time: npt.NDArray[np.integer[Any]],
        num_items: int,
        seed: int,
    ) -> Sequences:
        """Order interactions, three arrays of [E], by user and time.

        What a user took at one moment has no order; any order of rows or ids would put the same
        items next to each other everywhere, so it is drawn.
        """
        draw = np.random.default_rng(seed).random(len(user_row))
        order = np.lexsort((draw, time, user_row))
        user = user_row[order]
        starts = np.flatnonzero(np.diff(user, prepend=-1))
        ends = np.append(starts[1:], len(user))
        cuts = [np.arange(a, b, _LONGEST) for a, b in zip(starts, ends, strict=True)]
        bounds = np.concatenate([*cuts, [len(user)]]).astype(np.int64)
        return cls(item_row[order].astype(np.int32), bounds, num_items)

    @classmethod
    def read(cls, interactions: Path, num_items: int, seed: int) -> Sequences:
        """From a Parquet file with user_row, item_row and timestamp."""
        columns = ["user_row", "item_row", "timestamp"]
        table = pq.read_table(interactions, columns=columns)
        user, item, time = (table[name].to_numpy() for name in columns)
        return cls.of(user, item, time, num_items, seed)

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def __iter__(self) -> Iterator[list[str]]:
        names = [str(row) for row in range(self.num_items)]  # shared by all sequences
        for number in range(len(self)):
            rows = self.item_row[self.bounds[number] : self.bounds[number + 1]]
            yield [names[row] for row in rows.tolist()]


@dataclass(frozen=True)
class ItemVectors:
    """A trained skip-gram model; zeros for items it has not seen.

    Attributes:
        inner: float32 [N, d], of an item in the middle of the window
        outer: float32 [N, d], of an item that is predicted around it
        known: bool [N], whether training had the item
    """

    inner: Matrix
    outer: Matrix
    known: npt.NDArray[np.bool_]

    @classmethod
    def train(
        cls,
        sequences: Sequences,
        *,
        dimension: int,
        window: int,
        epochs: int,
        negative_power: float,
        seed: int,
    ) -> ItemVectors:
        """Skip-gram with 5 negatives, drawn in proportion to count^`negative_power`."""
        from gensim.models import Word2Vec

        model = Word2Vec(
            sequences, vector_size=dimension, window=window, epochs=epochs, alpha=_ALPHA, sg=1,
            negative=_NEGATIVES, ns_exponent=negative_power, sample=0, min_count=1, workers=1,
            seed=seed,
        )  # fmt: skip
        rows = np.array([int(name) for name in model.wv.index_to_key], dtype=np.int64)
        inner, outer = np.zeros((2, sequences.num_items, dimension), dtype=np.float32)
        inner[rows], outer[rows] = model.wv.vectors, model.syn1neg
        known = np.zeros(sequences.num_items, dtype=np.bool_)
        known[rows] = True
        return cls(inner, outer, known)

    def scorer(self, settings: Mapping[str, Any]) -> EmbeddingScorer:
        """Items by `match`: in-in, the cosine of inner vectors, or in-out, the model's prediction.

        The first finds what is taken in the same company, the second what is taken around the
        query itself.
        """
        if settings["match"] == "in-in":
            unit = unit_rows(self.inner)
            return vector_scorer("item2vec", unit, unit, self.known, settings)
        return vector_scorer("item2vec", self.inner, self.outer, self.known, settings)
