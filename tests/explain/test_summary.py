"""The one sentence: which reasons it gives, and how it counts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from pinsage.explain.parts import (
    Ablation,
    BothWays,
    CommonNeighbours,
    FeaturePair,
    Score,
    SharedContexts,
    Standing,
    Stripped,
    TwoStepPaths,
    Visits,
)
from pinsage.explain.summary import ordinal, summarise

THIRD = BothWays(Standing(3, 0.9), Standing(4.5, 0.8))
NO_PATH, NO_VISIT = TwoStepPaths(0, 0.0, ()), Visits(0, 100, None, 0.0)


@pytest.fixture
def facts() -> SimpleNamespace:
    """Nothing in common at all."""
    return SimpleNamespace(
        score=Score(0.5, "cosine", 1681, THIRD),
        shared=SharedContexts(0, 40, 10, 100, 4.0, 0.0, 0.0, THIRD, ()),
        walks=BothWays(NO_VISIT, NO_VISIT),
        paths=BothWays(NO_PATH, NO_PATH),
        common=CommonNeighbours(0, 0.0, ()),
        content=(FeaturePair("year", "numerical", 1, 2, None, None),),
        ablation=Ablation(Stripped(0.1, THIRD), Stripped(0.2, THIRD)),
    )


def sentence(facts: SimpleNamespace) -> str:
    return summarise("Alien", "Brazil", **vars(facts))


@pytest.mark.parametrize(
    ("rank", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (22, "22nd"),
     (113, "113th"), (1021, "1,021st"), (2.5, "2.5th")],
)  # fmt: skip
def test_ordinals(rank: float, text: str) -> None:
    assert ordinal(rank) == text


def test_places_the_item_and_says_that_nothing_connects_the_two(facts: SimpleNamespace) -> None:
    assert sentence(facts) == (
        "Brazil comes 3rd of 1,681 for Alien (cosine 0.500): no user of the one has the other; "
        "walks do not connect the two; by content alone it would come 3rd."
    )


def test_users_of_both_come_with_the_lift(facts: SimpleNamespace) -> None:
    facts.shared = replace(facts.shared, shared=8, lift=2.0)
    assert "8 of its 40 users have both, 2.0 times as many as by chance" in sentence(facts)


def test_an_item_without_users_is_named(facts: SimpleNamespace) -> None:
    facts.shared = replace(facts.shared, item=0, lift=None)
    assert ": Brazil has no user yet;" in sentence(facts)
    facts.shared = replace(facts.shared, query=0)
    assert ": Alien and Brazil have no user yet;" in sentence(facts)


def test_the_nearest_link_by_walks_is_given(facts: SimpleNamespace) -> None:
    facts.common = CommonNeighbours(4, 0.1, ())
    assert "but 4 neighbours are common to both" in sentence(facts)
    facts.paths = BothWays(TwoStepPaths(7, 0.1, ()), NO_PATH)
    assert "among those of 7 of them" in sentence(facts)
    facts.walks = BothWays(Visits(9, 100, 2, 0.2), NO_VISIT)
    assert "random walks make it the 2nd neighbour" in sentence(facts)


def test_stand_ins_are_not_taken_for_walks(facts: SimpleNamespace) -> None:
    facts.walks = BothWays(Visits(0, 0, 2, 0.2, by_content=True), NO_VISIT)
    assert "; likeness by content makes it the 2nd neighbour; " in sentence(facts)
    facts.walks = BothWays(Visits(0, 0, None, 0.0, by_content=True), NO_VISIT)
    assert "; neither walks nor content connect the two; " in sentence(facts)


def test_without_features_the_place_without_neighbours_is_given(facts: SimpleNamespace) -> None:
    facts.content = ()
    assert sentence(facts).endswith("without neighbours it would come 3rd.")


def test_in_a_large_catalog_a_score_is_given_for_a_place(facts: SimpleNamespace) -> None:
    facts.ablation = Ablation(Stripped(0.1, None), Stripped(0.2, None))
    assert sentence(facts).endswith("by content alone the cosine would be 0.200.")
