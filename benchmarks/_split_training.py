"""PinSage on a split without times, for `certification.py`.

The model, the walks, the batches, the loss and the loop are the project's own. Three things a
nightly run takes from timestamps are made otherwise: pairs are two random items of one user, the
validation is the user-to-item protocol, and a user's vector is the mean of its items'.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pinsage.config import Config, parse_config
from pinsage.data.pairs import Pairs, consecutive_pairs
from pinsage.evaluation.user_scorers import EmbeddingUsers
from pinsage.evaluation.users import UserSplit, evaluate_users
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import build_neighbourhoods
from pinsage.inference.local import embed_items
from pinsage.model.pinsage import PinSage
from pinsage.training.checkpoint import Checkpoints
from pinsage.training.loop import EpochReport, Trainer
from pinsage.training.pairs import TrainingPairs
from pinsage.training.stage import build_loader, build_model

Report = Callable[[EpochReport], None]


@dataclass(frozen=True)
class Settings:
    """What is tried on validation: the configuration's groups, and the pairs.

    Attributes:
        groups: `neighbourhoods`, `model` and `training` of a configuration
        orders: random orders of each user's items; items side by side in one are a pair
    """

    groups: dict[str, dict[str, Any]]
    orders: int

    @property
    def config(self) -> Config:
        """The configuration; its source is never read, the split takes its place."""
        source = {"interactions": {"path": "split.parquet"}}
        return parse_config({"name": "certification", "data": source, **self.groups})


def train(settings: Settings, split: UserSplit, report: Report, *, choose: bool) -> EmbeddingUsers:
    """Train on the split's training items; users and items of that graph as a `UserScorer`.

    With `choose` the epoch with the best recall@20 on the split's test items is kept, which must
    then be a part of the training items held out; without, the last epoch is, and the test items
    are not looked at.
    """
    config, graph = settings.config, split.train
    torch.set_num_threads(config.training.threads)
    table = build_neighbourhoods(graph, config.neighbourhoods, config.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = pa.table({"item_id": pa.array(np.arange(graph.num_items))})
        pq.write_table(items, folder / "items.parquet")
        model, features = build_model(config, folder, graph, table)
        pairs = random_pairs(graph, settings.orders)
        training = TrainingPairs(pairs, np.ones(len(pairs), dtype=np.float32))

        def scorer(trained: PinSage) -> EmbeddingUsers:
            return EmbeddingUsers(
                embed_items(trained, features, table, block=config.embed.block), graph
            )

        def validate(trained: PinSage) -> dict[str, float]:
            if not choose:
                return {"recall": float(trainer.progress.epoch)}  # the last epoch is the best
            found = evaluate_users(scorer(trained), split)
            return {"recall": float(found.recall.mean()), "ndcg": float(found.ndcg.mean())}

        trainer = Trainer(
            model,
            build_loader(config, training, graph, [table], features),
            validate,
            score="recall",
            config=config.training,
            seed=config.seed,
            checkpoints=Checkpoints(folder / "checkpoints"),
        )
        trainer.fit(report)
        return scorer(trainer.model.eval())


def random_pairs(graph: BipartiteGraph, orders: int) -> Pairs:
    """Both directions of each two neighbours in `orders` random orders of every user's items.

    The pairs of a nightly run are consecutive in time, and equal times are put in an order that is
    a hash of (user, item, time): one constant time gives one random order.
    """
    user = np.repeat(np.arange(graph.num_contexts, dtype=np.int32), np.diff(graph.context_indptr))
    drawn = [
        consecutive_pairs(_at(time, user, graph.context_indices), equal_times="both")
        for time in range(orders)
    ]
    names = [field.name for field in fields(Pairs)]
    return Pairs(*(np.concatenate([getattr(each, name) for each in drawn]) for name in names))


def _at(time: int, user: npt.NDArray[np.int32], item: npt.NDArray[np.int32]) -> pa.Table:
    times = np.full(len(user), time, dtype=np.int64)
    names = ["user_row", "item_row", "timestamp"]
    return pa.table([pa.array(column) for column in (user, item, times)], names=names)
