"""From neighbourhoods to a model, what it is worth, and every item's embedding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pinsage.config import CHANGES_NO_CONTEXT, CHANGES_NO_EMBEDDING, CHANGES_NO_WEIGHT, Config
from pinsage.stages._graph import walk_settings
from pinsage.store import Artifact, Facts, Store, Workspace, code_digest

if TYPE_CHECKING:
    from pinsage.training.loop import EpochReport

_TRAINING = (
    "pinsage.data.pairs",
    "pinsage.evaluation.embeddings",
    "pinsage.evaluation.exact",
    "pinsage.evaluation.exact_torch",
    "pinsage.evaluation.metrics",
    "pinsage.evaluation.ranking",
    "pinsage.graph",
    "pinsage.inference",
    "pinsage.model",
    "pinsage.retrieval.shelf",
    "pinsage.training",
)

INDEXING = (
    "pinsage.model.query",
    "pinsage.retrieval.alone",
    "pinsage.retrieval.build",
    "pinsage.retrieval.candidates",
    "pinsage.retrieval.exact",
    "pinsage.retrieval.index",
    "pinsage.retrieval.kinds",
    "pinsage.retrieval.load_faiss",
    "pinsage.retrieval.narrowed",
    "pinsage.retrieval.pairing",
    "pinsage.retrieval.recall",
    "pinsage.retrieval.tune",
)


def train(
    config: Config,
    store: Store,
    parts: Artifact,
    built: Artifact,
    table: Artifact,
    *,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> Artifact:
    """Train on the training period, choose the epoch on the validation period.

    `on_epoch` is called after each epoch, with its loss and validation metrics. With
    `training.warm_start` the published model is where it begins, and one of its inputs.
    """
    from pinsage.training.champion import INPUT, Champion, find_champion

    settings = training_settings(config)
    inputs = {
        "items": parts.digest("items.parquet"),
        "pairs": parts.digest("train.parquet", "valid.parquet"),
        "graph": built.digest(),
        "neighbourhoods": table.digest(),
    }
    champion = Champion("", None)
    if config.training.warm_start:
        champion = find_champion(
            config.root, config.name, settings=settings, inputs=inputs, code=code_digest(_TRAINING)
        )
        inputs[INPUT] = champion.identity

    def build(work: Workspace) -> Facts:
        from pinsage.training.stage import write_trained

        folders = (parts.path, built.path, table.path)
        facts = write_trained(config, *folders, work, on_epoch, champion.path)
        return {**facts, "seen_until": parts.facts["seen_until"]}

    return store.stage(
        "train",
        build,
        settings=settings,
        inputs=inputs,
        code=_TRAINING,
    )


def evaluate(
    config: Config,
    store: Store,
    parts: Artifact,
    built: Artifact,
    table: Artifact,
    trained: Artifact,
) -> Artifact:
    """Rank the pairs of the validation and test periods, beside the baselines."""

    def build(work: Workspace) -> Facts:
        from pinsage.evaluation.stage import write_evaluation

        return write_evaluation(config, parts.path, built.path, table.path, trained.path, work.path)

    return store.stage(
        "evaluate",
        build,
        settings={
            **config.evaluation.model_dump(mode="json"),
            "choose_by": config.training.choose_by,
            "storage": config.embed.storage,  # what is measured is what will be published
            "seed": config.seed,
        },
        inputs={
            "split": parts.digest(),
            "graph": built.digest(),
            "neighbourhoods": table.digest(),
            "model": trained.digest("model/"),
        },
        code=(
            "pinsage.content",
            "pinsage.data",
            "pinsage.evaluation",
            "pinsage.graph",
            "pinsage.inference",
            "pinsage.model",
        ),
    )


def embed(
    config: Config,
    store: Store,
    ingested: Artifact,
    built: Artifact,
    table: Artifact,
    trained: Artifact,
) -> Artifact:
    """Embed every item of the catalog layer by layer, no node twice (paper, section 3.4)."""

    def build(work: Workspace) -> Facts:
        from pinsage.inference.local import job_of
        from pinsage.inference.stage import write_embeddings

        folders = (ingested.path, built.path, table.path, trained.path)
        return write_embeddings(job_of(config, *folders, work.scratch), work.path)

    return store.stage(
        "embed",
        build,
        settings=config.embed.model_dump(exclude=set(CHANGES_NO_EMBEDDING)),
        inputs={
            "items": ingested.digest("items.parquet"),
            "graph": built.digest(),
            "neighbourhoods": table.digest(),
            "model": trained.digest("model/"),
        },
        code=("pinsage.cluster", "pinsage.graph", "pinsage.inference", "pinsage.model"),
    )


def contexts(config: Config, store: Store, ingested: Artifact, embedded: Artifact) -> Artifact:
    """Pool the items of every user into vectors that search the items' index."""

    def build(work: Workspace) -> Facts:
        from pinsage.contexts.stage import write_contexts

        vectors = embedded.file("embeddings.npy")
        return write_contexts(ingested.path, vectors, config.contexts, work.path)

    return store.stage(
        "contexts",
        build,
        settings=config.contexts.model_dump(exclude=set(CHANGES_NO_CONTEXT)),
        inputs={
            "interactions": ingested.digest("interactions.parquet", "users.parquet"),
            "embeddings": embedded.digest(),  # as versions name what they were made of
        },
        code=(
            "pinsage.contexts",
            "pinsage.data.arrow",
            "pinsage.data.row_groups",
            "pinsage.graph.npy",
        ),
    )


def index(config: Config, store: Store, embedded: Artifact, trained: Artifact) -> Artifact:
    """Build the nearest-neighbour index, and measure its recall with queries as they search."""

    def build(work: Workspace) -> Facts:
        from pinsage.retrieval.index import write_index

        embeddings, model = embedded.file("embeddings.npy"), trained.path / "model"
        return write_index(embeddings, config.index, config.seed, work.path, model)

    return store.stage(
        "index",
        build,
        settings={**config.index.model_dump(), "seed": config.seed},
        inputs={
            "embeddings": embedded.digest("embeddings.npy"),
            "model": trained.digest("model/"),
        },
        code=INDEXING,
    )


def training_settings(config: Config) -> dict[str, Any]:
    """The settings that weights depend on."""
    from pinsage.model.text import choose_encoder

    training = config.training.model_dump(exclude=set(CHANGES_NO_WEIGHT))
    items = config.data.items
    walks_anew = config.pairs.context_share < 1 or config.training.walk_tables > 0
    ranking = {"ks": config.evaluation.ks, "mrr_block": config.evaluation.mrr_block}
    return {
        "model": config.model.model_dump(),
        "pairs": config.pairs.model_dump(),
        "negatives": config.negatives.model_dump(),
        "walks": walk_settings(config) if walks_anew else {},
        "training": training,
        "features": items.features if items else {},
        "separator": items.separator if items else "",
        # With a digest of the weights; later stages find it in the trained model.
        "text_encoder": asdict(choose_encoder(items)),
        "validation": ranking,
        "seed": config.seed,
    }
