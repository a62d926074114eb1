"""What requests and answers look like; the OpenAPI pages at /docs are made of these.

Everything is bounded, so that no request takes more than its share.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

MOST_RELATED = 1000
MOST_QUERIES = 256
MOST_ITEMS = 2000
MOST_ALLOWED = 10_000
MOST_EXCLUDED = 1000
MOST_ANSWERED = 20_000  # items of all results together
MOST_COMPARED = 4_000_000  # pairs of a user's items, of all users together: seconds of one thread
LONGEST_BODY = 1 << 20  # bytes


def _encodable(text: str) -> str:
    text.encode()  # half of a surrogate pair is JSON, but no text: a ValueError
    return text


Text = Annotated[StrictStr, Field(max_length=10_000), AfterValidator(_encodable)]
Id = Annotated[StrictInt | Text, Field(description="An id of the catalog's own type.")]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Value = StrictBool | StrictInt | Number | Text | None
Feature = Value | Annotated[list[Value], Field(max_length=1000)]
Count = Annotated[int, Field(ge=1, le=MOST_RELATED)]


class Message(BaseModel):
    """Base: what is not known is refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Filters(Message):
    """What may be answered."""

    k: Count = 10
    """Most items of each result."""
    allowed: list[Id] | None = Field(None, max_length=MOST_ALLOWED)
    """Only these items are answered; ids that the version has not are passed over."""
    exclude: list[Id] = Field([], max_length=MOST_EXCLUDED)
    """Items that are not answered; ids that the version has not are passed over."""


def _bounded(results: int, k: int) -> None:
    if results * k > MOST_ANSWERED:
        raise ValueError(
            f"{results} results of up to k = {k} items are more than {MOST_ANSWERED:,} items; ask "
            f"in several requests, or for fewer"
        )


class ItemQuery(Message):
    """An item of the catalog by its id, or a new one by its features."""

    item_id: Id | None = None
    """An item of the catalog."""
    features: dict[Text, Feature] | None = Field(None, min_length=1, max_length=1000)
    """Features of an item that the catalog has not, by the names that the model was trained with;
    those left out are missing values."""

    @model_validator(mode="after")
    def _one_of_both(self) -> ItemQuery:
        if (self.item_id is None) == (self.features is None):
            raise ValueError("give item_id for an item of the catalog, or features for a new one")
        return self


class RelatedRequest(Filters):
    """Items whose relatives are asked for."""

    queries: list[ItemQuery] = Field(min_length=1, max_length=MOST_QUERIES)
    """Answered in this order."""

    @model_validator(mode="after")
    def _fits(self) -> RelatedRequest:
        _bounded(len(self.queries), self.k)
        return self


class Taken(Message):
    """An item that a user took."""

    item_id: Id
    """An item of the catalog."""
    weight: float = Field(1.0, ge=0.0, le=1e6, allow_inf_nan=False)
    """What it counts beside the others."""
    time: datetime | None = None
    """When it was taken, ISO 8601 or seconds since 1970; UTC where no offset is given."""

    @property
    def microseconds(self) -> int:
        """The time in µs since 1970; 0 where there is none."""
        if self.time is None:
            return 0
        time = self.time if self.time.tzinfo is not None else self.time.replace(tzinfo=UTC)
        return round(time.timestamp() * 1e6)


class User(Message):
    """A user, by what it took."""

    items: list[Id | Taken] = Field(min_length=1, max_length=MOST_ITEMS)
    """Recent items, the newest last unless they have times; ids alone or with weight and time."""

    @model_validator(mode="after")
    def _all_have_times_or_none(self) -> User:
        times = {isinstance(each, Taken) and each.time is not None for each in self.items}
        if len(times) > 1:
            raise ValueError("give every item of a user a time, or none of them")
        return self


class RecommendRequest(Filters):
    """Users to whom items are recommended."""

    users: list[User] = Field(min_length=1, max_length=MOST_QUERIES)
    """Answered in this order."""
    include_given: bool = False
    """Whether what a user gave may be answered as well."""
    pool: Literal["mean", "medoids"] | None = None
    """How a user's items become vectors; else as the server was started."""
    medoids: Annotated[int, Field(ge=1, le=100)] | None = None
    """Most vectors of a user; else as the server was started."""
    spread: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Distance below which a user's groups are one; else as the server was started."""
    newest: Annotated[int, Field(ge=1, le=MOST_ITEMS)] | None = None
    """Newest items of a user that count; else as the server was started."""
    half_life_days: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Age at which an item with a time weighs half; else as the server was started."""

    @model_validator(mode="after")
    def _fits(self) -> RecommendRequest:
        _bounded(len(self.users), self.k)
        return self


class Item(Message):
    """An item of an answer."""

    rank: int
    item_id: int | str
    title: str | None
    score: float
    """What training scored by; comparable within one result."""


class RelatedResult(Message):
    """What is related to one query."""

    item_id: int | str | None
    """The id that was asked for; null where features were given."""
    items: list[Item]
    notes: list[str] = []
    """What was passed over or is missing."""


class UserResult(Message):
    """What is recommended to one user."""

    items: list[Item]
    unknown: list[int | str]
    """Ids that were given and that the version has not: they were passed over."""


class Related(Message):
    """Answer of /related; all results are of one version."""

    name: str
    version: str
    results: list[RelatedResult]


class Recommended(Message):
    """Answer of /recommend; all results are of one version."""

    name: str
    version: str
    results: list[UserResult]


class Refusal(Message):
    """Why a request was not answered."""

    what: str
    """What was found."""
    where: str
    """Which part of the request."""
    remedy: str
    """What to do."""


class Refused(Message):
    """Answer with a status of 4xx or 5xx."""

    error: Refusal


class VersionInfo(Message):
    """What is being served."""

    name: str
    version: str
    created: str
    num_items: int
    dimension: int
    index: str
    pinned: bool
    """Whether the server stays with this version whatever is published."""
    switches: int
    failed_loads: int
