"""What an explanation consists of: frozen, made of plain values, so that `asdict` is JSON.

A rank counts all items but the query itself; ties stand in the middle, so it may end in .5.
Invariant: there is no NaN and no infinity; what does not exist is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class BothWays(Generic[T]):
    """The same seen from the query towards the item, and from the item back."""

    forward: T
    backward: T


@dataclass(frozen=True)
class ItemRef:
    """An item of the catalog."""

    item_id: Any
    title: str


@dataclass(frozen=True)
class Standing:
    """A place among all other items; `beats` is the share of them below, ties counting half."""

    rank: float
    beats: float


@dataclass(frozen=True)
class Score:
    """How near the two embeddings are; `metric` is `cosine` or `inner product`."""

    value: float
    metric: str
    num_ranked: int
    standing: BothWays[Standing]


@dataclass(frozen=True)
class SharedContext:
    """A user of both items, with the last time of each (ISO 8601, UTC)."""

    user_id: Any
    query_time: str
    item_time: str


@dataclass(frozen=True)
class SharedContexts:
    """The users of both items, beside those that chance would bring together.

    Attributes:
        shared, query, item, everyone: numbers of users
        expected: query · item / everyone, were the two chosen independently
        lift: shared / expected, None where nothing is expected
        cosine: shared / √(query · item), item-kNN's score; `standing` is its place by that
        shown: the newest, none unless asked for, because a user's id is personal
    """

    shared: int
    query: int
    item: int
    everyone: int
    expected: float
    lift: float | None
    cosine: float
    standing: BothWays[Standing]
    shown: tuple[SharedContext, ...]


@dataclass(frozen=True)
class Visits:
    """What the walks from one item say of the other (PinSage §3.1).

    Attributes:
        visits: of the other item
        of: visits of all items but the start
        place: in the neighbourhood, 1 for the most visited, None where it is not in it
        weight: α, its importance there; 0 where it is not in it
        by_content: the neighbourhood is that of an item that nobody has taken, which no walk
            leaves: `place` and `weight` are those of the items most alike by content
    """

    visits: int
    of: int
    place: int | None
    weight: float
    by_content: bool = False


@dataclass(frozen=True)
class TwoStepPath:
    """Two steps over the table of neighbours; `weight` is first · second."""

    via: ItemRef
    first: float
    second: float
    weight: float


@dataclass(frozen=True)
class TwoStepPaths:
    """All two-step paths; `weight` is the sum over all of them, `top` the heaviest."""

    number: int
    weight: float
    top: tuple[TwoStepPath, ...]


@dataclass(frozen=True)
class CommonNeighbour:
    """An item in both neighbourhoods, with its importance in each."""

    item: ItemRef
    query_weight: float
    item_weight: float


@dataclass(frozen=True)
class CommonNeighbours:
    """What the neighbourhoods have in common.

    `overlap` is the sum of the smaller weights: 0 where they share nothing, 1 where they are equal.
    `top` has the largest of these first.
    """

    number: int
    overlap: float
    top: tuple[CommonNeighbour, ...]


@dataclass(frozen=True)
class FeaturePair:
    """One feature of both items.

    Attributes:
        query, item: the values; None where missing, and for vectors, which are long
        shared: values or words of both; None where the kind has none
        alike: share of the values that are shared (Jaccard), 1 or 0 for a category, the cosine
            of vectors; None for numbers and times, and where a value is missing
    """

    column: str
    kind: str
    query: Any
    item: Any
    shared: tuple[str, ...] | None
    alike: float | None


@dataclass(frozen=True)
class Stripped:
    """The score of embeddings that were made from less.

    `standing` is the place among items that were all stripped alike, None in a large catalog.
    """

    score: float
    standing: BothWays[Standing] | None


@dataclass(frozen=True)
class Ablation:
    """What the published model says with less to go on.

    Attributes:
        without_neighbours: as if neither item had a neighbour
        without_interactions: as if both were new: no neighbour, nor a stand-in, degree 0, no id
            vector
    """

    without_neighbours: Stripped
    without_interactions: Stripped
