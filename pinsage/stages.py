"""The pipeline's boxes: each finds or builds one artifact, and says what its key depends on.

    snapshot ─► ingest ─► split ─► graph ─► neighbourhoods ─► train ─► evaluate ─► report
                     └───────────► graph ─► neighbourhoods ─► embed ─► index ─► publish

The graph is built twice: over the training period for training and evaluation, which must not see
what comes after, and over everything up to now for the embeddings that are published.
The heavy modules are imported where a stage is built, so that finding one costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pinsage.config import (
    CHANGES_NO_NEIGHBOUR,
    CHANGES_NO_ROW,
    CHANGES_NO_WEIGHT,
    Config,
    ItemsConfig,
)
from pinsage.store import Artifact, Facts, Store, Workspace, code_digest

_DATA = ("pinsage.data",)
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
    "pinsage.retrieval.versions",
    "pinsage.training",
)
_WALKS = ("pinsage.graph",)
_STAND_INS = ("pinsage.content", "pinsage.graph", "pinsage.model")

if TYPE_CHECKING:
    from pinsage.data.sources import FileTable
    from pinsage.graph.previous import Previous
    from pinsage.progress import Listener
    from pinsage.training.loop import EpochReport


def snapshot(config: Config, store: Store) -> Artifact:
    """Land the raw sources once as canonical Parquet, so that all stages see the same rows."""
    from pinsage.data.interactions import PART, Part
    from pinsage.data.snapshot import find_sources, write_snapshot

    found = find_sources(config.data, store.root / "cache" / "digests")

    def part_of(table: FileTable) -> Part:
        landed = part(config, store, table, found["interactions"].files[table.files[0]])
        return Part(landed.file(PART), landed.digest(), landed.facts)

    def build(work: Workspace) -> Facts:
        return write_snapshot(config.data, work.path, part_of)

    return store.stage(
        "snapshot",
        build,
        settings={"data": config.data.model_dump(mode="json", exclude=set(CHANGES_NO_ROW))},
        inputs={name: source.digest for name, source in found.items()},
        code=_DATA,
    )


def part(config: Config, store: Store, table: FileTable, digest: str) -> Artifact:
    """Land the interactions of one file of a folder; `digest` is that of its content.

    The key knows neither the file's name nor what lies beside it.
    """
    interactions = config.data.interactions

    def build(work: Workspace) -> Facts:
        from pinsage.data.interactions import write_part

        return write_part(interactions, table, work.path)

    return store.stage(
        "part",
        build,
        settings={
            **interactions.model_dump(mode="json", exclude={"path", "package", "duplicates"}),
            "typed": table.typed,
            "partition": table.partition(table.files[0]),
        },
        inputs={"file": digest},
        code=_DATA,
    )


def ingest(config: Config, store: Store, landed: Artifact) -> Artifact:
    """Quarantine unusable rows, remove duplicates, and number users and items densely.

    Where an earlier ingest had all but the newest files of a folder, only those are read.
    """
    settings = {
        "duplicates": config.data.interactions.duplicates,
        "has_catalog": config.data.items is not None,
    }
    parts = landed.facts.get("parts", [])

    def build(work: Workspace) -> Facts:
        from pinsage.data.earlier import find_earlier
        from pinsage.data.ingest import write_ingested

        made = store.made("ingest") if parts else ()
        earlier = find_earlier(made, parts, settings=settings, code=code_digest(_DATA))
        facts = write_ingested(landed.path, config.data, work.path, earlier)
        if parts and earlier is None:
            facts["full_because"] = "there is no earlier ingest of a part of these files"
        return {**facts, "parts": parts}

    return store.stage(
        "ingest",
        build,
        settings=settings,
        inputs={"snapshot": landed.digest()},
        code=_DATA,
    )


def split(config: Config, store: Store, ingested: Artifact) -> Artifact:
    """Cut the interactions at two points in time; the catalog as it was known at the second."""
    has_catalog = config.data.items is not None

    def build(work: Workspace) -> Facts:
        from pinsage.data.split import write_split

        return write_split(ingested.path, config.split, work.path, has_catalog=has_catalog)

    return store.stage(
        "split",
        build,
        settings={**config.split.model_dump(mode="json"), "has_catalog": has_catalog},
        inputs={"ingested": ingested.digest("interactions.parquet", "items.parquet")},
        code=("pinsage.data",),
    )


def graph(
    config: Config,
    store: Store,
    edges: Artifact,
    catalog: Artifact,
    *,
    listener: Listener | None = None,
) -> Artifact:
    """Both CSRs of the bipartite graph over the interactions of `edges`: a split's, or all.

    `catalog` says which items there are: a split, or what was ingested. `listener` is told how far
    it is.
    """
    name = "train.parquet" if edges.manifest.stage == "split" else "interactions.parquet"
    num_items = int(catalog.facts["num_items"])

    def build(work: Workspace) -> Facts:
        from pinsage.graph.construction.stage import write_graph

        return write_graph(
            edges.file(name),
            num_items,
            config.graph,
            config.seed,
            out=work.path,
            scratch=work.scratch,
            listener=listener,
        )

    return store.stage(
        "graph",
        build,
        settings={"num_items": num_items, **config.graph.deciding(config.seed)},
        inputs={"edges": edges.digest(name)},
        code=("pinsage.graph.bipartite", "pinsage.graph.construction"),
    )


def neighbourhoods(config: Config, store: Store, built: Artifact, catalog: Artifact) -> Artifact:
    """The table of the T most visited neighbours of every item (paper, section 3.1).

    `catalog`, a split or what was ingested, says what the items of the graph are like. It counts
    where items that nobody has taken get neighbours by content, and where it has features at all.
    """
    declared = config.data.items
    if config.neighbourhoods.by_content and declared is not None and declared.features:
        return _with_stand_ins(config, declared, store, built, catalog)

    def build(work: Workspace) -> Facts:
        from pinsage.graph.stage import write_neighbourhoods

        previous = _previous_table(store, work, built, code_digest(_WALKS))
        return write_neighbourhoods(built.path, config.neighbourhoods, config.seed, work, previous)

    return store.stage(
        "neighbourhoods",
        build,
        settings={**_walk_settings(config), "seed": config.seed},
        inputs={"graph": built.digest()},
        code=_WALKS,
    )


def _with_stand_ins(
    config: Config, declared: ItemsConfig, store: Store, built: Artifact, catalog: Artifact
) -> Artifact:
    walks, seed = config.neighbourhoods, config.seed

    def build(work: Workspace) -> Facts:
        from pinsage.content.stand_ins import write_with_stand_ins

        previous = _previous_table(store, work, built, code_digest(_STAND_INS))
        return write_with_stand_ins(built.path, catalog.path, declared, walks, seed, work, previous)

    content = {"features": declared.features, "separator": declared.separator}
    return store.stage(
        "neighbourhoods",
        build,
        settings={**_walk_settings(config), "seed": seed, "content": content},
        inputs={"graph": built.digest(), "items": catalog.digest("items.parquet")},
        code=_STAND_INS,
    )


def _previous_table(
    store: Store, work: Workspace, built: Artifact, sources: str
) -> Previous | None:
    """The table whose rows are kept where `built` is as its graph was."""
    from pinsage.graph.previous import find_previous

    return find_previous(
        store.root,
        settings=work.settings,
        sources=sources,
        num_edges=int(built.facts["num_edges"]),
    )


def _walk_settings(config: Config) -> dict[str, Any]:
    return config.neighbourhoods.model_dump(exclude=set(CHANGES_NO_NEIGHBOUR))


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

    settings = _training_settings(config)
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
        return write_trained(config, *folders, work, on_epoch, champion.path)

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
        settings={**config.evaluation.model_dump(mode="json"), "seed": config.seed},
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
        from pinsage.inference.stage import write_embeddings

        return write_embeddings(
            config, ingested.path, built.path, table.path, trained.path, work.path
        )

    return store.stage(
        "embed",
        build,
        settings={"threads": config.training.threads},
        inputs={
            "items": ingested.digest("items.parquet"),
            "graph": built.digest(),
            "neighbourhoods": table.digest(),
            "model": trained.digest("model/"),
        },
        code=("pinsage.graph", "pinsage.inference", "pinsage.model"),
    )


def index(config: Config, store: Store, embedded: Artifact) -> Artifact:
    """Build the nearest-neighbour index and measure its recall."""

    def build(work: Workspace) -> Facts:
        from pinsage.retrieval.index import write_index

        return write_index(embedded.file("embeddings.npy"), config.index, config.seed, work.path)

    return store.stage(
        "index",
        build,
        settings={**config.index.model_dump(), "seed": config.seed},
        inputs={"embeddings": embedded.digest("embeddings.npy")},
        code=("pinsage.retrieval.index",),
    )


def report(
    config: Config,
    store: Store,
    *,
    ingested: Artifact,
    parts: Artifact,
    catalog: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    vectors: Artifact,
    made: Mapping[str, Artifact],
) -> Artifact:
    """Draw the page that the run is judged by, beside what readers follow now.

    `vectors` holds embeddings.npy, of the items of `catalog` over the graph `built`: those to be
    published, or those that were evaluated. `made` are the run's artifacts by stage, in order.
    """
    from pinsage.retrieval.versions import champion

    rival = champion(config.root, config.name, vectors.digest())
    sources = {
        "catalog": catalog, "built": built, "trained": trained, "evaluated": evaluated,
        "ingested": ingested, "parts": parts, "vectors": vectors,
    }  # fmt: skip

    def build(work: Workspace) -> Facts:
        from pinsage.report.gather import gather
        from pinsage.report.stage import write_report

        return write_report(gather(config, **sources, champion=rival, made=made), work.path)

    checked = {name: a.digest("report.json") for name, a in made.items() if "validate" in name}
    return store.stage(
        "report",
        build,
        # The page shows every setting, so that all but where it lies are in its key.
        settings=config.model_dump(mode="json", exclude={"root": True, "tracking": True}),
        inputs={
            **{name: source.digest() for name, source in sources.items()},
            "trained": trained.digest("model/"),  # not history.json, which holds wall times
            **checked,
            "champion": rival.name if rival else "",
        },
        code=(
            "pinsage.content",
            "pinsage.data",
            "pinsage.evaluation",
            "pinsage.graph",
            "pinsage.model",
            "pinsage.report",
            "pinsage.retrieval",
        ),
    )


def _training_settings(config: Config) -> dict[str, Any]:
    from pinsage.model.text import choose_encoder

    training = config.training.model_dump(exclude=set(CHANGES_NO_WEIGHT))
    items = config.data.items
    ranking = {"ks": config.evaluation.ks, "mrr_block": config.evaluation.mrr_block}
    return {
        "model": config.model.model_dump(),
        "pairs": config.pairs.model_dump(),
        "negatives": config.negatives.model_dump(),
        "walks": _walk_settings(config) if config.pairs.context_share < 1 else {},
        "training": training,
        "features": items.features if items else {},
        "separator": items.separator if items else "",
        # With a digest of the weights; later stages find it in the trained model.
        "text_encoder": asdict(choose_encoder(items)),
        "validation": ranking,
        "seed": config.seed,
    }
