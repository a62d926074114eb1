"""The train stage: pairs and neighbourhoods in, a model and its training curve out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch_frame.data import TensorFrame

from pinsage.config import Config
from pinsage.errors import TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods
from pinsage.inference.local import read_items
from pinsage.model.features import FeatureSpec
from pinsage.model.io import save_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text import choose_encoder
from pinsage.model.text_vectors import SentenceVectors
from pinsage.store import Facts, Workspace
from pinsage.training.checkpoint import Checkpoints
from pinsage.training.loader import PairLoader
from pinsage.training.loop import EpochReport, Trainer
from pinsage.training.negatives import HardNegatives, PositiveSets, SharedNegatives
from pinsage.training.pairs import TrainingPairs, sub_graph, training_pairs
from pinsage.training.sampler import NeighbourhoodSampler
from pinsage.training.validation import Validation


def write_trained(
    config: Config,
    parts: Path,
    graph: Path,
    table: Path,
    work: Workspace,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Facts:
    """Train, and write `model/` and `history.json`. All paths are artifact folders."""
    torch.set_num_threads(config.training.threads)
    whole, neighbourhoods = BipartiteGraph.open(graph), Neighbourhoods.open(table)
    model, features = build_model(config, parts, whole.item_degree)
    pairs = training_pairs(parts / "train.parquet", config.pairs, config.seed)
    validation = Validation(config, parts, features, neighbourhoods)
    trained_on, near = _trained_on(config, whole, neighbourhoods)
    loader = build_loader(config, pairs, trained_on, near, features)
    trainer = Trainer(
        model.to(pick_device(config.training.device)),
        loader,
        validation,
        score=validation.score,
        config=config.training,
        seed=config.seed,
        checkpoints=Checkpoints(work.scratch),
    )
    history = trainer.fit(on_epoch)
    save_model(trainer.model.cpu(), work.path / "model")
    (work.path / "history.json").write_text(json.dumps([asdict(r) for r in history], indent=2))
    best = history[trainer.progress.best_epoch]
    return {
        "num_pairs": len(pairs),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "epochs": len(history),
        "best_epoch": best.epoch,
        **{f"best_{name}": value for name, value in best.metrics.items()},
    }


def _trained_on(
    config: Config, graph: BipartiteGraph, table: Neighbourhoods
) -> tuple[BipartiteGraph, Neighbourhoods]:
    """The graph and the neighbourhoods, or those of a share of its contexts."""
    share = config.pairs.context_share
    if share == 1.0:
        return graph, table
    part = sub_graph(graph, share, config.seed)
    return part, build_neighbourhoods(part, config.neighbourhoods, config.seed)


def build_model(
    config: Config, parts: Path, degree: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> tuple[PinSage, TensorFrame]:
    """A fresh model with features fitted on the catalog, and the encoded catalog."""
    items = read_items(parts)
    declared = config.data.items
    spec = FeatureSpec.fit(
        items,
        degree,
        declared.features if declared else {},
        separator=declared.separator if declared else "|",
        text_buckets=config.model.text_buckets,
        text_encoder=choose_encoder(declared),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = PinSage(config.model, spec, len(items))
    if config.model.id_embedding:
        model.encoder.known.copy_(torch.from_numpy(degree > 0))
    return model, spec.transform(items, degree, SentenceVectors.below(config.root))


def build_loader(
    config: Config,
    training: TrainingPairs,
    graph: BipartiteGraph,
    table: Neighbourhoods,
    features: TensorFrame,
) -> PairLoader:
    """Minibatches of the pairs with their negatives; `graph` and `table` are trained on."""
    chosen, pairs = config.negatives, training.pairs
    hard = None
    if chosen.hard:
        positives = PositiveSets(pairs, table.num_items)
        hard = HardNegatives.of(graph, positives, chosen, config.seed)
    sampler = NeighbourhoodSampler(
        table,
        hops=config.model.layers,
        negatives=SharedNegatives.of(graph.item_degree, pairs.positive_row, chosen, config.seed),
        hard=hard,
    )
    return PairLoader(
        training,
        table,
        features,
        sampler,
        batch_size=config.training.batch_size,
        epoch_pairs=config.training.epoch_pairs,
        seed=config.seed,
        exclude_positives=chosen.exclude_positives,
        hold_out_edges=config.training.hold_out_edges,
        workers=config.training.workers,
        prefetch=config.training.prefetch,
    )


def pick_device(name: str) -> torch.device:
    """The device of `training.device`. Raises TrainingError where it is not there."""
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise TrainingError(
            "training.device is cuda, and torch sees no GPU; set it to auto or cpu, or install "
            "a torch build for this GPU's driver"
        )
    return torch.device("cuda" if has_gpu and name != "cpu" else "cpu")
