"""How results are measured, shown, retrieved and published."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from pinsage.config.base import Settings

Baseline = Literal[
    "random", "popularity", "item-kNN", "transitions", "Pixie", "EASE", "ALS", "BPR", "item2vec",
    "content-kNN",
]  # fmt: skip


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
    storage: Literal["float32", "bfloat16", "float16"] = "float32"
    """How representations between layers are kept; the 16 bits halve disk and reading."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """Where blocks are computed; `auto` is a GPU where there is one."""
    engine: Literal["local", "ray"] = "local"
    """`local` computes on this machine; `ray` on a cluster (extra `ray`), with the same result."""
    address: str = "local"
    """Address of the Ray cluster; `local` starts one on this machine for the run."""
    partitions: int = Field(0, ge=0, le=100_000)
    """Parts that a cluster computes in; 0 takes two for each CPU, one on a single node."""
    order: Literal["auto", "catalog", "locality"] = "auto"
    """Order that a cluster cuts its parts in: `locality` finds one in which neighbours are near,
    and less travels; `auto` does so on several machines."""


CHANGES_NO_EMBEDDING = frozenset(
    {"graph", "block", "device", "engine", "address", "partitions", "order"}
)
"""Settings of `EmbedConfig` that say where and how, not what: a graph is an input of its own."""


class ContextsConfig(Settings):
    """Vectors of users, or whatever else the contexts are, from what they took."""

    pool: Literal["mean", "medoids", "none"] = "mean"
    """`mean`: one vector a user. `medoids`: the user's items in groups (Ward), and the middle item
    of each, as PinnerSage does. `none` makes no vectors of users."""
    newest: int = Field(5, ge=1, le=2000)
    """Newest interactions of a user that count."""
    half_life_days: float = Field(0.0, ge=0.0)
    """Age at which an interaction weighs half, in days before the user's newest; 0 weighs all ages
    alike."""
    by_weight: bool = False
    """Whether interactions count by their weight; one of 0 or less then counts nothing."""
    medoids: int = Field(3, ge=1, le=100)
    """Most groups of a user, and so its vectors."""
    spread: float = Field(1.0, ge=0.0)
    """Groups nearer than this are one even where there may be more: Ward's distance, which between
    two single items is that of their vectors."""
    memory_mib: int = Field(1024, ge=16, le=2**24)
    """Memory of the blocks of users, in MiB, besides 8 bytes a user. It changes how often the
    interactions are read, and no vector."""
    publish: bool = False
    """Whether versions hold the vectors with the users' ids, which are personal data."""


CHANGES_NO_CONTEXT = frozenset({"memory_mib", "publish"})
"""Settings of `ContextsConfig` that say how, and who reads it, not what."""


class IndexConfig(Settings):
    """Nearest-neighbour retrieval."""

    kind: Literal["auto", "exact", "hnsw", "ivfpq", "binary"] = "auto"
    """`exact` compares with every item; `ivfpq` reads short codes of the nearest lists, `hnsw`
    follows links between neighbours, `binary` compares hashes (the paper's, section 3.5), and what
    they find is scored in full. `auto` is exact up to `exact_up_to` items, `ivfpq` beyond."""
    exact_up_to: int = Field(200_000, ge=1)
    """Largest catalog that `auto` searches exactly."""
    recall: float = Field(0.95, ge=0.5, le=0.999)
    """Share of the exact 100 best that a search is to find: it is tuned to that when built."""
    lists: int = Field(0, ge=0, le=1_048_576)
    """Lists of `ivfpq`; 0 takes about twice the root of the number of items."""
    hnsw_links: int = Field(32, ge=4, le=256)
    """Links a node of the HNSW graph."""
    hnsw_search: int = Field(0, ge=0, le=65_536)
    """Candidates held while an HNSW graph is searched; 0 takes what `recall` needs."""
    hash_bits: int = Field(0, ge=0, le=65_536, multiple_of=8)
    """Bits of a hash of `binary`; 0 takes 4 a dimension."""


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
    to: str = Field("", pattern=r"^([a-z][a-z0-9+.-]*://[^@?#]+)?$")
    """Address that versions go to besides, e.g. `s3://bucket/prefix` (extra `s3`); credentials come
    from the environment. Readers there are switched first."""
    align: Literal["off", "beside", "applied"] = "beside"
    """The rotation that brings vectors nearest to the last published ones: `beside` keeps it in the
    version as `alignment.npy`, `applied` turns vectors, index and model by it."""


class RetentionConfig(Settings):
    """What `pinsage gc` leaves: what a published version needs stays in any case."""

    runs: int = Field(7, ge=1, le=10_000)
    """Newest runs of each flow and data set whose artifacts stay; failed ones counted apart."""
    young_days: float = Field(2.0, ge=0)
    """Artifacts younger than so many days stay, whoever made them."""
    scratch_days: float = Field(14.0, ge=0)
    """Days without a change after which what an unfinished stage would resume from goes."""
    record_days: float = Field(365.0, ge=0)
    """Days after which the record of a run goes, unless its artifacts stay."""
    mlflow_days: int = Field(90, ge=0)
    """Days after which MLflow runs go that no registered model is of; 0 keeps them all."""
    prefect_days: int = Field(90, ge=0)
    """Days after which ended Prefect flow runs go; 0 keeps them all."""


class TrackingConfig(Settings):
    """MLflow."""

    uri: str = ""
    """Tracking server; empty takes `MLFLOW_TRACKING_URI`, else a SQLite file in `root`."""
    experiment: str = ""
    """Experiment; empty takes the name of the data set."""
    model: str = ""
    """Registered model; empty takes `pinsage-` and the name of the data set."""
