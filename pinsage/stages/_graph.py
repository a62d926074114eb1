"""From interactions to the graph, and to what is near every item (paper, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinsage.config import CHANGES_NO_NEIGHBOUR, Config, ItemsConfig
from pinsage.store import Artifact, Facts, Store, Workspace, code_digest

if TYPE_CHECKING:
    from pinsage.graph.previous import Previous
    from pinsage.progress import Listener

_WALKS = ("pinsage.graph",)
_STAND_INS = ("pinsage.content", "pinsage.graph", "pinsage.model")


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
        code=("pinsage.graph.bipartite", "pinsage.graph.construction", "pinsage.graph.npy"),
    )


def neighbourhoods(
    config: Config,
    store: Store,
    built: Artifact,
    catalog: Artifact,
    *,
    listener: Listener | None = None,
) -> Artifact:
    """The table of the T most visited neighbours of every item (paper, section 3.1).

    `catalog`, a split or what was ingested, says what the items of the graph are like. It counts
    where items that nobody has taken get neighbours by content, and where it has features at all.
    `listener` is told how far it is.
    """
    declared = config.data.items
    if config.neighbourhoods.by_content and declared is not None and declared.features:
        return _with_stand_ins(config, declared, store, built, catalog, listener)

    def build(work: Workspace) -> Facts:
        from pinsage.graph.stage import write_neighbourhoods

        previous = _previous_table(store, work, built, code_digest(_WALKS))
        return write_neighbourhoods(
            built.path, config.neighbourhoods, config.seed, work, previous, listener
        )

    return store.stage(
        "neighbourhoods",
        build,
        settings={**walk_settings(config), "seed": config.seed},
        inputs={"graph": built.digest()},
        code=_WALKS,
    )


def _with_stand_ins(
    config: Config,
    declared: ItemsConfig,
    store: Store,
    built: Artifact,
    catalog: Artifact,
    listener: Listener | None,
) -> Artifact:
    walks, seed = config.neighbourhoods, config.seed

    def build(work: Workspace) -> Facts:
        from pinsage.content.stand_ins import write_with_stand_ins

        previous = _previous_table(store, work, built, code_digest(_STAND_INS))
        return write_with_stand_ins(
            built.path, catalog.path, declared, walks, seed, work, previous, listener
        )

    content = {"features": declared.features, "separator": declared.separator}
    return store.stage(
        "neighbourhoods",
        build,
        settings={**walk_settings(config), "seed": seed, "content": content},
        inputs={"graph": built.digest(), "items": catalog.digest("items.parquet")},
        code=_STAND_INS,
    )


def _previous_table(
    store: Store, work: Workspace, built: Artifact, sources: str
) -> Previous | None:
    """The table whose rows are kept where `built` is as its graph was."""
    from pinsage.graph.previous import find_previous

    return find_previous(
        store,
        settings=work.settings,
        sources=sources,
        num_edges=int(built.facts["num_edges"]),
    )


def walk_settings(config: Config) -> dict[str, Any]:
    """The settings of walks that a table depends on."""
    return config.neighbourhoods.model_dump(exclude=set(CHANGES_NO_NEIGHBOUR))
