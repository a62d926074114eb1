"""Why is an item recommended for another? The parts of an explanation, put together.

Everything is computed over what the published embeddings were made of: the graph of all
interactions, the fixed table of neighbours (PinSage §3.1), the model and the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass

from pinsage.errors import ConfigError
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.explain.ablation import ablate
from pinsage.explain.content import compare_features
from pinsage.explain.evidence import Evidence
from pinsage.explain.links import (
    common_neighbours,
    newest_contexts,
    reference,
    shared_contexts,
    standings,
    two_step_paths,
    visits,
)
from pinsage.explain.parts import (
    Ablation,
    BothWays,
    CommonNeighbours,
    FeaturePair,
    ItemRef,
    Score,
    SharedContexts,
    TwoStepPaths,
    Visits,
)
from pinsage.explain.summary import summarise
from pinsage.retrieval.published import one_line


@dataclass(frozen=True)
class Explanation:
    """Why `item` is recommended for `query`; `dataclasses.asdict` of it is JSON.

    `forward` is always from the query to the item, `backward` from the item to the query.
    """

    summary: str
    query: ItemRef
    item: ItemRef
    score: Score
    shared_contexts: SharedContexts
    walks: BothWays[Visits]
    paths: BothWays[TwoStepPaths]
    common_neighbours: CommonNeighbours
    content: tuple[FeaturePair, ...]
    ablation: Ablation


def explain(
    evidence: Evidence, query: int, item: int, *, count: int = 5, contexts: int = 0
) -> Explanation:
    """Explain the item in row `item` as a recommendation for the one in row `query`.

    `count` bounds the lists of paths and neighbours, `contexts` the users named with their times;
    these are personal data, so that by default there are none. Raises ConfigError where both rows
    are one item.
    """
    if query == item:
        raise ConfigError(
            f"QUERY and ITEM are both {one_line(evidence.items['title'].iloc[item])!r}: an item is "
            f"not recommended for itself, so name two; `pinsage recommend` lists related ones"
        )
    table, titles = evidence.table, evidence.items
    score = _score(evidence, query, item)
    shown = newest_contexts(evidence.ingested, query, item, contexts)
    shared = shared_contexts(evidence.graph, query, item, shown)
    walks = visits(evidence.graph, table, evidence.walks, evidence.seed, query, item)
    paths = BothWays(
        two_step_paths(table, query, item, titles, count),
        two_step_paths(table, item, query, titles, count),
    )
    common = common_neighbours(table, query, item, titles, count)
    degree = table.shown_degree(evidence.graph)
    ablation = ablate(evidence.model, titles, degree, query, item, texts=evidence.texts)
    ends = reference(titles, query), reference(titles, item)
    content = compare_features(titles, evidence.model.spec, query, item)
    summary = summarise(
        *(one_line(end.title) for end in ends), score=score, shared=shared, walks=walks,
        paths=paths, common=common, content=content, ablation=ablation,
    )  # fmt: skip
    return Explanation(summary, *ends, score, shared, walks, paths, common, content, ablation)


def _score(evidence: Evidence, query: int, item: int) -> Score:
    vectors = evidence.vectors
    queries = evidence.model.as_query_map()(vectors)
    num_items = len(vectors)
    return Score(
        value=float(queries[query] @ vectors[item]),
        metric="cosine" if evidence.model.config.normalize else "inner product",
        num_ranked=num_items - 1,
        standing=standings(EmbeddingScorer("PinSage", vectors, queries), query, item, num_items),
    )
