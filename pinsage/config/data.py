"""What comes in: the two tables, what they must look like, and where time is cut."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, field_validator, model_validator

from pinsage.config.base import Settings

FeatureKind = Literal[
    "numerical", "categorical", "multicategorical", "text", "embedding", "timestamp"
]
TimestampUnit = Literal["s", "ms", "us", "ns", "iso"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Source(Settings):
    """Where a table comes from: a file or folder, a file inside an installed package, or SQL."""

    path: str | None = Field(None, min_length=1)
    """File or folder of Parquet or CSV (.csv, .tsv, .gz). `~` and `$VARIABLES` are expanded;
    relative paths start at the current directory, or inside `package` where that is set."""
    package: str | None = Field(None, min_length=1)
    """Installed Python distribution that carries the file `path`. It is never imported."""
    url: str | None = Field(None, min_length=1)
    """SQLAlchemy database address, e.g. `postgresql+psycopg://$DB_USER:$DB_PASSWORD@host/db`."""
    query: str | None = Field(None, min_length=1)
    """SQL query to read from `url`."""
    format: Literal["auto", "parquet", "csv"] = "auto"
    """File format; `auto` goes by the file's ending."""
    delimiter: str = Field(",", json_schema_extra={"pattern": r"^(\\t|[\s\S])$"})
    r"""Column delimiter of a CSV file, one character; `\t` is a tab."""

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, text: str) -> str:
        # A form shows a tab as an empty field, so that it can be written as people write it.
        text = {r"\t": "\t"}.get(text, text)
        if len(text) != 1:
            raise ValueError(rf"give one character, or \t for a tab (got {text!r})")
        return text

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        if (self.path is None) == (self.url is None):
            raise ValueError("give exactly one of `path` (a file) and `url` (a database)")
        if (self.url is None) != (self.query is None):
            raise ValueError("`url` and `query` go together")
        if self.package is not None and self.path is None:
            raise ValueError("`package` needs `path`, the file inside the package")
        return self


class InteractionsConfig(Source):
    """Who interacted with what, and when."""

    user_column: str | Annotated[tuple[str, ...], Field(min_length=2)] = "user_id"
    """Column of the user, board, session or basket: the context of an item. Several columns, such
    as `["store", "week"]`, are one context together; its id joins theirs: `367/12`."""
    item_column: str = "item_id"
    """Column of the item."""
    timestamp_column: str = "timestamp"
    """Column of the time of the interaction."""
    timestamp_unit: TimestampUnit = "s"
    """Unit of a number since 1970-01-01 UTC, or `iso` for dates and ISO 8601 strings."""
    timezone: str = "UTC"
    """Time zone of `iso` times that carry none."""
    weight_column: str | None = None
    """Column of the strength of an interaction, if there is one."""
    min_weight: float | None = None
    """Interactions with a smaller weight are left out (counted, not quarantined)."""
    duplicates: Literal["exact", "first", "keep"] = "exact"
    """`exact`: one row a (user, item, time). `first`: one row a (user, item) pair, the oldest
    (the newest would let a later interaction take an earlier one out of the training period)."""


class ItemsConfig(Source):
    """The catalog: one row an item."""

    item_column: str = "item_id"
    """Column of the item."""
    title_column: str | None = None
    """Column with a title that people recognise."""
    image_column: str | None = None
    """Column with the address of an image: a file (relative to the catalog's folder), shown in the
    report, or a web address, shown as a link."""
    features: dict[str, FeatureKind] = Field(default_factory=dict)
    """Feature columns, each with its kind. docs/features.md says how each is encoded, and what
    stands for a missing value."""
    separator: str = Field("|", min_length=1)
    """Separator between the values of a multicategorical column; a space looks like an empty
    field."""
    text_encoder: Literal["hashed", "sentence", "auto"] = "hashed"
    """How text columns are encoded. `hashed`: a bag of n-grams with learned vectors. `sentence`: a
    vector by the sentence model all-MiniLM-L6-v2, which must be installed (docs/features.md).
    `auto`: `sentence` where it is installed, so that results depend on the machine."""


class DataConfig(Settings):
    """The two inputs."""

    interactions: InteractionsConfig
    """The interactions: who, with what, when."""
    items: ItemsConfig | None = None
    """The catalog. Without one, items are those interacted with, and have no content."""
    memory_mib: int = Field(2048, ge=128)
    """Memory for sorting and numbering the interactions, in MiB; what is over it goes to disk. The
    rest of the process comes on top."""


CHANGES_NO_ROW = frozenset({"memory_mib"})
"""Fields of `DataConfig` that change only how the same rows are reached: no artifact's key has
them."""


class ContractConfig(Settings):
    """What the data must look like; a breach stops the run before work is spent."""

    min_interactions: int = Field(100, ge=1)
    """Fewest interactions."""
    min_users: int = Field(2, ge=1)
    """Fewest users (contexts)."""
    min_items: int = Field(10, ge=2)
    """Fewest distinct items."""
    max_orphan_share: Share = 0.01
    """Largest share of interactions with an item that is not in the catalog (quarantined)."""
    max_invalid_share: Share = 0.001
    """Largest share, in a column, of missing ids, unreadable times or weights (quarantined)."""
    max_duplicate_share: Share = 0.5
    """Largest share of interactions that repeat another (user, item, time)."""
    max_missing_feature_share: Share = 0.9
    """Largest share of missing values in a feature column."""
    earliest: date = date(1990, 1, 1)
    """No interaction may be older (ISO date, UTC): catches a wrong timestamp unit."""
    max_future_days: float = Field(1.0, ge=0.0)
    """How far in the future an interaction may lie, in days."""


class SplitConfig(Settings):
    """Global temporal split: training, then validation, then test."""

    train_share: float = Field(0.7, gt=0.0, lt=1.0)
    """Share of the interactions, oldest first, that training sees."""
    valid_share: float = Field(0.1, gt=0.0, lt=1.0)
    """Share of the interactions after those that choices are made on. The rest is the test."""
    valid_from: AwareDatetime | None = None
    """First moment of the validation period, instead of `train_share` (ISO 8601 with an offset)."""
    test_from: AwareDatetime | None = None
    """First moment of the test period, instead of `valid_share`; goes with `valid_from`."""

    @model_validator(mode="after")
    def _leaves_a_test(self) -> SplitConfig:
        if self.train_share + self.valid_share >= 1.0:
            raise ValueError(
                f"train_share + valid_share must stay below 1 to leave a test period "
                f"(got {self.train_share} + {self.valid_share})"
            )
        if (self.valid_from is None) != (self.test_from is None):
            raise ValueError("`valid_from` and `test_from` go together: give both, or neither")
        if self.valid_from and self.test_from and self.valid_from >= self.test_from:
            raise ValueError(
                f"valid_from must lie before test_from (got {self.valid_from} and {self.test_from})"
            )
        return self
