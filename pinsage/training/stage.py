"""The train stage: pairs and neighbourhoods in, a model and its training curve out."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Sequence
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
from pinsage.training.launch import Sources, train_in_processes
from pinsage.training.loader import PairLoader
from pinsage.training.loop import EpochReport, Trainer
from pinsage.training.memory import keep_few_products, kept_memory
from pinsage.training.negatives import HardNegatives, PositiveSets, SharedNegatives
from pinsage.training.origin import Origin
from pinsage.training.pairs import TrainingPairs, sub_graph, training_pairs
from pinsage.training.queries import QueryLoader
from pinsage.training.sampler import NeighbourhoodSampler
from pinsage.training.team import Team
from pinsage.training.validation import Validation
from pinsage.training.warm import start_warm

_ALONE = Team()
_WALKED = 0x7AB1E5  # seeds of tables apart from all other seeds


def write_trained(
    config: Config,
    parts: Path,
    graph: Path,
    table: Path,
    work: Workspace,
    on_epoch: Callable[[EpochReport], None] | None,
    champion: Path | None = None,
) -> Facts:
    """Train, and write `model/` and `history.json`. All paths are artifact folders.

    `champion` is the folder of the published version to start from; None for a cold start.

    Raises TrainingError where training cannot go on, or one of its processes fails.
    """
    sources = Sources(parts, graph, table, champion)
    if config.training.processes > 1 or config.training.launcher == "ray":
        return train_in_processes(config, sources, work, on_epoch)
    return train_part(config, sources, work, on_epoch, Team(), pick_device(config.training.device))


def train_part(
    config: Config,
    sources: Sources,
    work: Workspace,
    on_epoch: Callable[[EpochReport], None] | None,
    team: Team,
    device: torch.device,
) -> Facts:
    """Train with a team. Its leader writes and reports, and returns the facts."""
    # PyG's loaders refer to themselves, and so keep the catalog of the training before; among the
    # many objects of a flow Python may not look for such for hours.
    gc.collect()
    torch.set_num_threads(config.training.threads)
    keep_few_products()
    parts = sources.parts
    whole, neighbourhoods = BipartiteGraph.open(sources.graph), Neighbourhoods.open(sources.table)
    model, features = build_model(config, parts, whole, neighbourhoods)
    kept = _warmed(model, sources)
    pairs = training_pairs(parts / "train.parquet", config.pairs, config.seed)
    validation = Validation(config, parts, features, neighbourhoods)
    trained_on, tables = _trained_on(config, whole, neighbourhoods)
    trainer = Trainer(
        model.to(device),
        build_loader(config, pairs, trained_on, tables, features, team),
        validation,
        score=validation.score,
        config=config.training,
        seed=config.seed,
        checkpoints=Checkpoints(work.scratch, keep=config.training.checkpoints_kept),
        origin=Origin(work.settings, work.inputs),
        is_warm=kept is not None,
        team=team,
    )
    with kept_memory():
        trainer.fit(on_epoch if team.leads else None)
    if not team.leads:
        return {}
    warm = {} if kept is None else {"warm_items": kept}
    return {"num_pairs": len(pairs), **_written(trainer, work), **warm}


def _warmed(model: PinSage, sources: Sources) -> int | None:
    """Items that have kept their vectors from the champion; None for a cold start."""
    if sources.champion is None:
        return None
    return start_warm(model, read_items(sources.parts)["item_id"].tolist(), sources.champion)


def _written(trainer: Trainer, work: Workspace) -> Facts:
    history, model = trainer.progress.history, trainer.model.cpu()
    save_model(model, work.path / "model")
    (work.path / "history.json").write_text(json.dumps([asdict(r) for r in history], indent=2))
    best = history[trainer.progress.best_epoch]
    return {
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "epochs": trainer.progress.epoch,
        "best_epoch": best.epoch,
        **{f"best_{name}": value for name, value in best.metrics.items()},
    }


def _trained_on(
    config: Config, graph: BipartiteGraph, table: Neighbourhoods
) -> tuple[BipartiteGraph, list[Neighbourhoods]]:
    """The graph, or that of a share of its contexts, and the tables that training takes.

    Rows of items without a context stay empty in tables made here: no step has such an item.
    """
    share, walks = config.pairs.context_share, config.neighbourhoods
    part = graph if share == 1.0 else sub_graph(graph, share, config.seed)
    if config.training.walk_tables:
        seeds = np.random.SeedSequence([config.seed, _WALKED]).generate_state(
            config.training.walk_tables
        )
        return part, [build_neighbourhoods(part, walks, int(seed)) for seed in seeds]
    return part, [table if share == 1.0 else build_neighbourhoods(part, walks, config.seed)]


def build_model(
    config: Config, parts: Path, graph: BipartiteGraph, table: Neighbourhoods
) -> tuple[PinSage, TensorFrame]:
    """A fresh model with features fitted on the catalog, and the encoded catalog.

    What is fitted, and whose id vectors are learnt, goes by the graph's own degrees: stand-ins of
    items that nobody has taken change no weight.
    """
    items, degree = read_items(parts), graph.item_degree
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
    texts = SentenceVectors.below(config.root)
    return model, spec.transform(items, table.shown_degree(graph), texts)


def build_loader(
    config: Config,
    training: TrainingPairs,
    graph: BipartiteGraph,
    tables: Sequence[Neighbourhoods],
    features: TensorFrame,
    team: Team = _ALONE,
) -> PairLoader | QueryLoader:
    """Minibatches of the pairs with what they are told from.

    `graph` and `tables` are trained on, which epochs, or passes, take turns with.
    """
    chosen, pairs = config.negatives, training.pairs
    if config.training.loss == "full_softmax":
        return QueryLoader(
            training,
            tables,
            features,
            graph.item_degree,
            hops=config.model.layers,
            batch_size=config.training.batch_size,
            passes=config.training.passes,
            seed=config.seed,
            team=team,
        )
    hard = None
    if chosen.hard:
        positives = PositiveSets(pairs, graph.num_items)
        hard = HardNegatives.of(graph, positives, chosen, config.seed)
    sampler = NeighbourhoodSampler(
        tables[0],
        hops=config.model.layers,
        negatives=SharedNegatives.of(graph.item_degree, pairs.positive_row, chosen, config.seed),
        hard=hard,
        team=team,
    )
    return PairLoader(
        training,
        tables,
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


def pick_device(name: str, place: int = 0) -> torch.device:
    """The device of `training.device` for the process at `place` among those of this host.

    Raises TrainingError where it is not there.
    """
    has_gpu = torch.cuda.is_available()
    if name == "cuda" and not has_gpu:
        raise TrainingError(
            "training.device is cuda, and torch sees no GPU; set it to auto or cpu, or install "
            "a torch build for this GPU's driver"
        )
    if not has_gpu or name == "cpu":
        return torch.device("cpu")
    if place and place >= torch.cuda.device_count():
        raise TrainingError(
            f"training.processes needs GPU {place} of this host, which has "
            f"{torch.cuda.device_count()}; lower it, or set training.device to cpu"
        )
    return torch.device("cuda", place) if place else torch.device("cuda")
