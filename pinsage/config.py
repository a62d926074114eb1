"""The whole configuration: one tree, read from TOML, shown as a form in the Prefect UI.

Every field has a title, a help text with its unit, and bounds; unknown keys are refused. The tree
is frozen: a stage sees exactly the settings that its artifact's key was computed from.
"""

from __future__ import annotations

import os
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from pinsage.errors import ConfigError

Baseline = Literal[
    "random", "popularity", "item-kNN", "transitions", "Pixie", "EASE", "ALS", "BPR", "item2vec",
    "content-kNN",
]  # fmt: skip
FeatureKind = Literal[
    "numerical", "categorical", "multicategorical", "text", "embedding", "timestamp"
]
TimestampUnit = Literal["s", "ms", "us", "ns", "iso"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """Base of every group: frozen, unknown keys and infinite numbers refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


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
    delimiter: str = Field(",", min_length=1, max_length=1)
    """Column delimiter of a CSV file."""

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

    user_column: str = "user_id"
    """Column of the user, board, session or basket: the context of an item."""
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
    duplicates: Literal["exact", "first", "last", "keep"] = "exact"
    """`exact`: one row a (user, item, time). `first` or `last`: one row a (user, item) pair."""


class ItemsConfig(Source):
    """The catalog: one row an item."""

    item_column: str = "item_id"
    """Column of the item."""
    title_column: str | None = None
    """Column with a title that people recognise."""
    image_column: str | None = None
    """Column with the address of an image: a file, for the report, or a web address."""
    features: dict[str, FeatureKind] = Field(default_factory=dict)
    """Feature columns, each with its kind."""
    separator: str = Field("|", min_length=1)
    """Separator between the values of a multicategorical column."""


class DataConfig(Settings):
    """The two inputs."""

    interactions: InteractionsConfig
    """The interactions: who, with what, when."""
    items: ItemsConfig | None = None
    """The catalog. Without one, items are those interacted with, and have no content."""


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

    @model_validator(mode="after")
    def _leaves_a_test(self) -> SplitConfig:
        if self.train_share + self.valid_share >= 1.0:
            raise ValueError(
                f"train_share + valid_share must stay below 1 to leave a test period "
                f"(got {self.train_share} + {self.valid_share})"
            )
        return self


class NeighbourhoodConfig(Settings):
    """Importance-based neighbourhoods by random walks (paper, section 3.1)."""

    size: int = Field(50, ge=1, le=1000)
    """T, the number of neighbours kept an item."""
    walks: int = Field(200, ge=1, le=100_000)
    """Random walks an item."""
    length: int = Field(3, ge=1, le=100)
    """Most item-to-item hops a walk."""
    restart: float = Field(0.5, ge=0.0, lt=1.0)
    """Probability to end a walk after each hop."""


class ModelConfig(Settings):
    """Encoders, convolutions and head (paper, Algorithms 1 and 2)."""

    layers: int = Field(2, ge=1, le=4)
    """K, the number of convolutions."""
    hidden: int = Field(128, ge=2, le=8192)
    """Width of the item representations between layers."""
    output: int = Field(128, ge=2, le=8192)
    """Dimension of the embeddings."""
    normalize: bool = True
    """Embeddings of unit length, in training and retrieval alike. The paper does not."""
    feature_channels: int = Field(32, ge=1, le=1024)
    """Width of each encoded feature column."""
    text_buckets: int = Field(4096, ge=8, le=1 << 22)
    """Number of hash buckets of a text column's n-grams."""
    id_embedding: bool = True
    """Learn a vector an item beside its content. The paper does not."""
    id_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """Share of items whose id vector is hidden in a training step, so that new items work."""


class TrainingConfig(Settings):
    """Max-margin training on pairs of consecutive interactions (paper, section 3.3)."""

    epochs: int = Field(12, ge=1, le=10_000)
    """Most epochs."""
    patience: int = Field(3, ge=1)
    """Epochs without a better validation hit-rate before training stops."""
    batch_size: int = Field(512, ge=1)
    """Pairs a step."""
    epoch_pairs: int = Field(0, ge=0)
    """Pairs an epoch, drawn anew for each; 0 takes all."""
    negatives: int = Field(500, ge=1)
    """Random items a step, shared by its pairs."""
    margin: float = Field(0.1, gt=0.0)
    """How much a positive must score above a negative."""
    learning_rate: float = Field(2e-3, gt=0.0)
    """Peak learning rate of Adam, reached by warm-up in the first epoch."""
    decay: float = Field(0.9, gt=0.0, le=1.0)
    """Factor on the learning rate each epoch after the first."""
    weight_decay: float = Field(1e-5, ge=0.0)
    """Decoupled weight decay."""
    clip: float = Field(1.0, gt=0.0)
    """Largest norm of the gradient."""
    validation_pairs: int = Field(20_000, ge=1)
    """Most validation pairs ranked after an epoch; more are sampled down."""
    pair_gap_hours: float = Field(0.0, ge=0.0)
    """Longest time between the two interactions of a pair, in hours; 0 for any."""
    workers: int = Field(0, ge=0, le=64)
    """Processes that prepare minibatches; 0 prepares them in the training process."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU if there is one."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the arithmetic: fixed, so that a machine's core count changes no bit."""
    checkpoint_steps: int = Field(200, ge=1)
    """Steps between checkpoints; one is written at each epoch's end as well."""


class EvaluationConfig(Settings):
    """Item-to-item ranking over the full catalog."""

    baselines: tuple[Baseline, ...] = Field(get_args(Baseline), min_length=1)
    """Methods that stand beside PinSage in every table."""
    trials: int = Field(6, ge=1, le=1000)
    """Most settings of a baseline tried on validation pairs: the same budget for each."""
    ease_items: int = Field(10_000, ge=2)
    """EASE inverts a matrix of items × items: it knows the most popular ones, up to this number."""
    slice_column: str | None = None
    """Catalog column by whose values results are sliced; else the first categorical feature."""

    ks: tuple[Annotated[int, Field(ge=1)], ...] = Field((10, 50, 100, 500), min_length=1)
    """Cut-offs K of hit-rate@K."""
    mrr_block: int = Field(0, ge=0)
    """Ranks a block of the scaled MRR (the paper: 100 of 5 million); 0 takes 1/500 of the
    catalog, at most 100."""
    bootstrap: int = Field(2000, ge=100)
    """Bootstrap resamples of the users."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Level of the intervals."""
    pixie_walks: int = Field(20_000, ge=1)
    """Walks an item of the Pixie baseline."""
    block: int = Field(512, ge=1)
    """Queries scored at a time."""


class EmbedConfig(Settings):
    """Embedding of every item, layer by layer (paper, section 3.4)."""

    graph: Literal["full", "train"] = "full"
    """`full` embeds over all interactions up to now, with the weights that were evaluated."""
    block: int = Field(8192, ge=1)
    """Items computed at a time."""


class IndexConfig(Settings):
    """Nearest-neighbour retrieval."""

    kind: Literal["auto", "exact", "hnsw"] = "auto"
    """`auto` is exact up to `exact_up_to` items."""
    exact_up_to: int = Field(200_000, ge=1)
    """Largest catalog that `auto` searches exactly."""
    hnsw_links: int = Field(32, ge=4, le=256)
    """Links a node of the HNSW graph."""
    hnsw_search: int = Field(256, ge=16)
    """Candidates held while an HNSW graph is searched."""


class ReportConfig(Settings):
    """The page that a run is judged by."""

    queries: tuple[str, ...] = ()
    """Ids of the items whose neighbours are shown; empty takes 20 from popular to rare."""
    neighbours: int = Field(10, ge=1, le=50)
    """Neighbours shown of each."""
    map_points: int = Field(3000, ge=10, le=20_000)
    """Most items drawn in the map of the embeddings."""


class PublishConfig(Settings):
    """What consumers read."""

    keep: int = Field(5, ge=2)
    """Versions kept for rollback."""


class TrackingConfig(Settings):
    """MLflow."""

    uri: str = ""
    """Tracking server; empty takes MLFLOW_TRACKING_URI, else a SQLite file in `root`."""
    experiment: str = ""
    """Experiment; empty takes the name of the data set."""
    model: str = ""
    """Registered model; empty takes `pinsage-` and the name of the data set."""


class Config(Settings):
    """Everything a nightly run needs to know."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    """Name of the data set: versions are published under it."""
    root: Path = Path("var")
    """Folder that holds everything this project writes. `~` and `$VARIABLES` are expanded."""
    seed: int = Field(2018, ge=0, lt=2**31)
    """Seed of every random choice."""
    data: DataConfig
    """The two inputs: interactions, and the catalog."""
    contract: ContractConfig = ContractConfig()
    """What the data must look like."""
    split: SplitConfig = SplitConfig()
    """Where training, validation and test are cut."""
    neighbourhoods: NeighbourhoodConfig = NeighbourhoodConfig()
    """Random walks and the neighbours they choose."""
    model: ModelConfig = ModelConfig()
    """Encoders, convolutions and head."""
    training: TrainingConfig = TrainingConfig()
    """How the model is trained."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the model is ranked beside the baselines."""
    embed: EmbedConfig = EmbedConfig()
    """How every item is embedded."""
    index: IndexConfig = IndexConfig()
    """How nearest neighbours are found."""
    report: ReportConfig = ReportConfig()
    """What the report shows."""
    publish: PublishConfig = PublishConfig()
    """What is kept for consumers."""
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records the run."""

    @field_validator("root")
    @classmethod
    def _expanded(cls, root: Path) -> Path:
        try:
            return Path(expand(str(root), field="root"))
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("root: ")) from None


def load_config(path: str | Path, overrides: tuple[str, ...] = ()) -> Config:
    """Read a TOML file; `overrides` are `group.key=value` with values in TOML syntax.

    Raises ConfigError naming the file, the key, what was found and what was expected.
    """
    path = Path(path)
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no such configuration file; see configs/ for examples"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML ({error})") from None
    for override in overrides:
        _set(tree, override)
    return parse_config(tree, where=str(path))


def parse_config(tree: dict[str, Any], *, where: str = "configuration") -> Config:
    """Validate a nested dictionary; `where` begins every message."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(where, error)) from None


def expand(text: str, *, field: str) -> str:
    """Expand `~` and `$VARIABLES`; an unset variable is an error naming `field`."""
    # Looked for before they are expanded: a variable's value may itself hold a dollar sign.
    for name in re.findall(r"\$\{?([A-Za-z_]\w*)", text):
        if name not in os.environ:
            raise ConfigError(
                f"{field}: the environment variable {name} is not set; export it, or write the "
                f"value into the configuration"
            )
    return os.path.expandvars(os.path.expanduser(text))


def _set(tree: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r}: expected group.key=value")
    *groups, leaf = key.strip().split(".")
    node = tree
    for group in groups:
        child = node.setdefault(group, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {group} is a value, not a group")
        node = child
    try:
        node[leaf] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        node[leaf] = value.strip()  # a bare word is a string, as a shell user expects


def _explain(where: str, error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key; `pinsage config` lists those there are")
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing, and it has no default")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            found = problem["input"]
            shown = f" (got {found!r})" if not isinstance(found, dict) else ""
            lines.append(f"{key}: {message[0].lower()}{message[1:]}{shown}")
    return f"{where}: " + "; ".join(lines)
