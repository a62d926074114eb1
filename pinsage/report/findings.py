"""Everything that a report shows, read and measured once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.evaluation.metrics import headline_metric
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.model.query import read_query_map
from pinsage.report.catalog import Catalog, Groups
from pinsage.report.cosines import Cosines, Vectors
from pinsage.report.evidence import Evidence
from pinsage.report.images import Pictures
from pinsage.report.inputs import ReportInputs, read_json
from pinsage.report.neighbours import QueryCard, Sources, query_cards
from pinsage.report.projection import Projection, project
from pinsage.report.queries import Queries, choose_queries


@dataclass(frozen=True)
class Findings:
    """What the page and the figures are drawn from.

    Attributes:
        history: a report an epoch
        metric: the validation metric that the epoch was chosen by
        cards: the queries with their neighbours
        champion: name of the version that readers follow now; None the first time
    """

    evidence: Evidence
    history: list[Mapping[str, Any]]
    metric: str
    catalog: Catalog
    groups: Groups
    cosines: Cosines
    projection: Projection
    queries: Queries
    cards: tuple[QueryCard, ...]
    pictures: Pictures
    champion: str | None

    @classmethod
    def of(cls, inputs: ReportInputs) -> Findings:
        """Read and measure. Raises ArtifactError where an input is broken or does not fit."""
        config = inputs.config
        evidence = Evidence.read(inputs.evaluated)
        history = _history(inputs)
        catalog = Catalog.open(inputs.ingested, config)
        graph, vectors = BipartiteGraph.open(inputs.graph), _vectors(inputs)
        _check_sizes(inputs, catalog, graph, vectors)
        queries = choose_queries(catalog.ids, graph.item_degree, config.report.queries)
        sources = Sources.open(
            vectors,
            read_query_map(inputs.trained / "model"),
            graph,
            evidence.tuning,
            inputs.champion,
        )
        pictures = Pictures.of(config)
        most = config.report.map_points
        return cls(
            evidence=evidence,
            history=history,
            metric=_chosen_by(config, history),
            catalog=catalog,
            groups=catalog.groups(),
            cosines=Cosines.measure(vectors, config.seed),
            projection=project(vectors, graph.item_degree, most=most, seed=config.seed),
            queries=queries,
            cards=query_cards(queries.rows, sources, catalog, pictures, config.report.neighbours),
            pictures=pictures,
            champion=inputs.champion.name if inputs.champion else None,
        )


def _history(inputs: ReportInputs) -> list[Mapping[str, Any]]:
    file = inputs.trained / "history.json"
    history: list[Mapping[str, Any]] = read_json(file)
    if not history:
        raise ArtifactError(f"{file}: holds no epoch; delete its folder and train again")
    return history


def _chosen_by(config: Config, history: list[Mapping[str, Any]]) -> str:
    names = [name for name in history[0]["metrics"] if name.startswith("hit_rate_")]
    ks = [int(name.removeprefix("hit_rate_")) for name in names]
    headline = headline_metric(ks) if ks else str(next(iter(history[0]["metrics"])))
    return config.training.choosing_metric(headline)


def _vectors(inputs: ReportInputs) -> Vectors:
    try:
        vectors: Vectors = np.load(inputs.vectors, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{inputs.vectors}: cannot be read ({error}); delete its folder and embed again"
        ) from None
    return vectors


def _check_sizes(
    inputs: ReportInputs, catalog: Catalog, graph: BipartiteGraph, vectors: Vectors
) -> None:
    sizes = {len(catalog), graph.num_items, len(vectors)}
    if len(sizes) > 1 or vectors.ndim != 2 or len(vectors) < 2:
        raise ArtifactError(
            f"{inputs.vectors}: expected embeddings [N, d] of the N items, at least two, of "
            f"{inputs.ingested} and {inputs.graph} (got shape {vectors.shape}, {len(catalog)} "
            f"items and a graph of {graph.num_items}); they come from different runs"
        )
