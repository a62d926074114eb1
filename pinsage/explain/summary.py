"""An explanation in one sentence of plain words."""

from __future__ import annotations

from pinsage.explain.parts import (
    Ablation,
    BothWays,
    CommonNeighbours,
    FeaturePair,
    Score,
    SharedContexts,
    TwoStepPaths,
    Visits,
)


def summarise(
    query: str,
    item: str,
    *,
    score: Score,
    shared: SharedContexts,
    walks: BothWays[Visits],
    paths: BothWays[TwoStepPaths],
    common: CommonNeighbours,
    content: tuple[FeaturePair, ...],
    ablation: Ablation,
) -> str:
    """Where the item stands for the query, and the strongest reasons; titles are of one line."""
    place = ordinal(score.standing.forward.rank)
    reasons = (
        _users(query, item, shared),
        _walks(walks.forward, paths.forward, common),
        _without(ablation, content, score.metric),
    )
    return (
        f"{item} comes {place} of {score.num_ranked:,} for {query} ({score.metric} "
        f"{score.value:.3f}): {'; '.join(reasons)}."
    )


def ordinal(rank: float) -> str:
    """`1st`, `22nd`, `1,013th`; `2.5th` for a tie that stands in the middle."""
    if rank % 1:
        return f"{rank:,.1f}th"
    number = int(rank)
    teen = 10 <= number % 100 <= 20
    return f"{number:,}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def _users(query: str, item: str, shared: SharedContexts) -> str:
    alone = [name for name, of in ((query, shared.query), (item, shared.item)) if of == 0]
    if alone:
        return f"{' and '.join(alone)} {'have' if len(alone) > 1 else 'has'} no user yet"
    if not shared.shared or shared.lift is None:
        return "no user of the one has the other"
    return (
        f"{shared.shared:,} of its {shared.query:,} users have both, {shared.lift:.1f} times as "
        f"many as by chance"
    )


def _walks(seen: Visits, paths: TwoStepPaths, common: CommonNeighbours) -> str:
    if seen.place is not None:
        means = "likeness by content makes" if seen.by_content else "random walks make"
        return f"{means} it the {ordinal(seen.place)} neighbour"
    if paths.number:
        return f"it is not among its neighbours, but among those of {paths.number:,} of them"
    if common.number:
        return (
            f"it is not among its neighbours, but {common.number:,} neighbours are common to both"
        )
    means = "neither walks nor content" if seen.by_content else "walks do not"
    return f"{means} connect the two"


def _without(ablation: Ablation, content: tuple[FeaturePair, ...], metric: str) -> str:
    # Without features all new items are one and the same, and a place among them says nothing.
    less, stripped = (
        ("by content alone", ablation.without_interactions)
        if content
        else ("without neighbours", ablation.without_neighbours)
    )
    if stripped.standing is None:
        return f"{less} the {metric} would be {stripped.score:.3f}"
    return f"{less} it would come {ordinal(stripped.standing.forward.rank)}"
