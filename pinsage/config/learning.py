"""How neighbours are chosen, what the model is, what it learns from and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pinsage.config.base import Settings

ChooseBy = Literal["hit_rate", "mrr", "both"]
GEOMETRIC_MEAN = "geometric_mean"  # the metric of `both`


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
    stop_when_stable: int = Field(0, ge=0)
    """Visits that settle a neighbour: the walks from an item end early once `size` items have so
    many each (as in Pixie), looked at after 64 walks and whenever they have doubled; 0 takes all
    walks."""
    by_content: int = Field(0, ge=0)
    """Items most alike by content that stand in as neighbours of an item that nobody has taken
    yet; 0 leaves it alone. The paper does not."""
    by_content_contexts: int = Field(1, ge=1)
    """Contexts that such a stand-in must have: a higher number ranks new items as if they were
    more popular, for whoever wants to push new items."""
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """What walks: the table is the same to the bit. `auto` takes a GPU if there is one that the
    graph fits on. A cluster walks on its CPUs."""
    engine: Literal["local", "ray"] = "local"
    """`local` walks on this machine; `ray` on a cluster (extra `ray`): the same table."""
    address: str = "local"
    """Address of the Ray cluster; `local` starts one on this machine for the walks."""

    @model_validator(mode="after")
    def _has_room(self) -> NeighbourhoodConfig:
        if self.by_content > self.size:
            raise ValueError(
                f"by_content must be at most size, the number of neighbours kept an item "
                f"(got {self.by_content} and {self.size})"
            )
        return self

    @model_validator(mode="after")
    def _walks_on_one(self) -> NeighbourhoodConfig:
        if self.engine == "ray" and self.device == "cuda":
            raise ValueError(
                "a cluster walks on its CPUs: set device to 'cpu', or engine to 'local' "
                "(got device 'cuda' and engine 'ray')"
            )
        return self


CHANGES_NO_NEIGHBOUR = frozenset({"device", "engine", "address"})
"""Fields of `NeighbourhoodConfig` that change only how fast the same table is made: they stay out
of an artifact's key."""


class PairsConfig(Settings):
    """What is learnt from: pairs of a user's interactions, one soon after the other (§3.3)."""

    window: int = Field(1, ge=1, le=100)
    """Pairs reach this many interactions ahead; the paper's are consecutive, 1."""
    decay: float = Field(1.0, gt=0.0, le=1.0)
    """Factor on a pair's weight for each interaction between its two."""
    equal_times: Literal["both", "drop"] = "both"
    """Interactions of one moment have no order: their pairs are taken in both directions, or left
    out, so that what comes later is all that is learnt, as evaluation asks for."""
    gap_hours: float = Field(0.0, ge=0.0)
    """Longest time between the two interactions of a pair, in hours; 0 for any."""
    half_life_days: float = Field(0.0, ge=0.0)
    """Age at which a pair weighs half, in days before the newest one; 0 weighs all ages alike."""
    per_user: int = Field(0, ge=0)
    """Most pairs of a user, drawn at random; 0 takes all."""
    min_weight: float | None = None
    """Interactions of a smaller weight are in the graph, but in no pair."""
    backward: float = Field(0.0, ge=0.0, le=1.0)
    """Each pair is learnt the other way round as well, at this share of its weight: where pairs
    are few, what precedes tells of what follows. The paper does not."""
    context_share: float = Field(1.0, gt=0.0, le=1.0)
    """Share of the contexts whose sub-graph and pairs are trained on (the paper: 0.2)."""


class NegativesConfig(Settings):
    """What a positive is told from (§3.3)."""

    shared: int = Field(500, ge=0)
    """Items drawn a step, shared by its pairs."""
    power: float = Field(0.0, ge=0.0, le=1.0)
    """Shared negatives are drawn in proportion to (training contexts)^power; 0 is uniform."""
    in_batch: bool = False
    """The positives of a step's other pairs are negatives too."""
    exclude_positives: bool = True
    """Whatever is a positive of the query in training is no negative of it. Without, only the
    pair's own two items are left out: the softmax then sees which positive is the more frequent."""
    hard: int = Field(0, ge=0, le=100)
    """Most hard negatives a query (the paper: 6)."""
    curriculum: bool = True
    """Epoch n takes n − 1 hard negatives, up to `hard`; without, all of them from the first."""
    hard_from: float = Field(0.05, ge=0.0)
    """Where hard negatives begin among the items by personalised PageRank from the query: a rank,
    or below 1 a share of the catalog (the paper: rank 2,000 of 2 billion)."""
    hard_to: float = Field(0.2, gt=0.0)
    """Where they end, likewise (the paper: 5,000)."""
    hard_walks: int = Field(2000, ge=1, le=1_000_000)
    """Random walks from each query that the ranks are counted with."""

    @model_validator(mode="after")
    def _has_negatives(self) -> NegativesConfig:
        if not (self.shared or self.in_batch):
            raise ValueError("without `shared` negatives there must be `in_batch` ones")
        if self.hard and not _is_window(self.hard_from, self.hard_to):
            raise ValueError(
                f"hard_from and hard_to must both be ranks (1 or more) or both shares of the "
                f"catalog (below 1; hard_to up to 1), the first below the second "
                f"(got {self.hard_from:g} and {self.hard_to:g})"
            )
        return self


def _is_window(first: float, last: float) -> bool:
    return first < last and (last <= 1 or first == 0 or first >= 1)


class ModelConfig(Settings):
    """Encoders, convolutions and head (paper, Algorithms 1 and 2)."""

    aggregator: Literal["importance", "mean", "max"] = "importance"
    """How neighbours are pooled: weighted by their importance, alike, or the largest of each
    channel."""
    layers: int = Field(2, ge=0, le=4)
    """K, the number of convolutions; 0 embeds by content alone."""
    hidden: int = Field(128, ge=2, le=8192)
    """Width of the item representations between layers."""
    output: int = Field(128, ge=2, le=8192)
    """Dimension of the embeddings."""
    normalize: bool = True
    """Embeddings of unit length, in training and retrieval alike. The paper does not."""
    query_map: bool = False
    """A query looks for items by a learned linear map of its embedding: what follows an item need
    not be what is like it. In training and retrieval alike. The paper does not."""
    feature_channels: int = Field(32, ge=1, le=1024)
    """Width of each encoded feature column."""
    text_buckets: int = Field(4096, ge=8, le=1 << 22)
    """Number of hash buckets of a text column's n-grams."""
    id_embedding: bool = True
    """Learn a vector an item beside its content. The paper does not."""
    id_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    """Share of items whose id vector is hidden in a training step, so that new items work."""


class TrainingConfig(Settings):
    """How weights are found (paper, section 3.3)."""

    loss: Literal["max_margin", "softmax", "full_softmax", "cross_entropy"] = "max_margin"
    """`max_margin` is the paper's, `cross_entropy` its ablation's (each pair and each negative is a
    yes or no), `softmax` is the sampled softmax over the positive and its negatives. `full_softmax`
    samples nothing: each step embeds all items with a training context and tells `batch_size`
    queries' positives, all of them, from the rest; for catalogs up to some 100,000 items. It takes
    no notice of `negatives`, but a query's other positives stand in the sum: say so with
    `negatives.exclude_positives = false`."""
    margin: float = Field(0.1, gt=0.0)
    """`max_margin`: how much a positive must score above a negative."""
    temperature: float = Field(0.07, gt=0.0)
    """`softmax`, `full_softmax`, `cross_entropy`: scores are divided by it."""
    log_q: bool = True
    """`softmax`: negatives count by how rarely they are drawn, so that the sample stands for the
    whole catalog."""
    spread: float = Field(0.0, ge=0.0)
    """Weight of a penalty beside the loss: the mean cosine of random pairs of items. It keeps a
    catalog that few items of are ever taken from being pressed into one corner."""
    hold_out_edges: bool = False
    """A step's pairs are not each other's neighbours in that step's neighbourhoods."""

    epochs: int = Field(12, ge=1, le=10_000)
    """Most epochs."""
    walk_tables: int = Field(0, ge=0, le=1000)
    """Tables of neighbours, each of walks of its own, that training takes turns with, epoch by
    epoch (`full_softmax`: pass by pass). 0 trains on the very table that it is measured with: the
    model then comes to rely on that table's chance, and is worse over any other walks, such as
    those for what is published."""
    choose_by: ChooseBy = "hit_rate"
    """What of the validation period chooses the epoch, and the baselines' settings: the hit-rate at
    the headline K, the MRR, or both, the root of their product."""
    patience: int = Field(3, ge=1)
    """Epochs that are no better in it before training stops."""
    batch_size: int = Field(512, ge=1)
    """Pairs a step; of `full_softmax`, queries a step."""
    passes: int = Field(1, ge=1, le=100_000)
    """`full_softmax`: how often an epoch goes through all queries, which is few steps each time."""
    epoch_pairs: int = Field(0, ge=0)
    """Pairs an epoch, drawn anew for each; 0 takes all."""
    learning_rate: float = Field(2e-3, gt=0.0)
    """Peak learning rate of Adam, reached by warm-up in the first epoch."""
    rate_batch: int = Field(0, ge=0)
    """Batch size that `learning_rate` is for: with another `batch_size` the peak is in proportion
    (the linear scaling rule); 0 takes the rate as it is."""
    decay: float = Field(0.9, gt=0.0, le=1.0)
    """Factor on the learning rate each epoch after the first."""
    weight_decay: float = Field(1e-5, ge=0.0)
    """Decoupled weight decay."""
    average: float = Field(0.0, ge=0.0, lt=1.0)
    """Decay a step of the moving average of the weights, which is what is then measured and kept;
    0 keeps the weights themselves."""
    clip: float = Field(1.0, gt=0.0)
    """Largest norm of the gradient."""
    validation_pairs: int = Field(20_000, ge=1)
    """Most validation pairs ranked after an epoch; more are sampled down."""
    workers: int = Field(0, ge=0, le=64)
    """Processes that sample minibatches; 0 samples in the training process."""
    prefetch: Annotated[int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    """Minibatches that a thread makes ready while the step before computes; `auto` is 2 for a GPU
    and 0 for the CPU, whose cores the step itself keeps busy."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the model's matrix products (autocast); loss, weights and optimiser are float32 anyway."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU if there is one."""
    threads: int = Field(2, ge=1, le=256)
    """CPU threads of the arithmetic: fixed, so that a machine's core count changes no bit."""
    warm_start: bool = False
    """Begin with the published model instead of a fresh one: items and values of features keep
    their vectors by id and by value. What it scores before the first epoch counts as epoch 0."""
    processes: int = Field(1, ge=1, le=4096)
    """Processes that each train on an equal part of every step's pairs, with `threads` threads or
    a GPU of their own; `batch_size` is that of all of them together."""
    launcher: Literal["processes", "ray"] = "processes"
    """What starts them: `processes` on this machine, or a command such as torchrun's in
    `PINSAGE_LAUNCH`; `ray` on a cluster (extra `ray`), which also starts them anew where one dies.
    All hosts share `root`."""
    address: str = "local"
    """Address of the Ray cluster; `local` starts one on this machine for the training."""
    checkpoint_steps: int = Field(200, ge=1)
    """Steps between checkpoints; one is written at each epoch's end as well."""
    checkpoints_kept: int = Field(2, ge=1, le=1000)
    """Checkpoints that stay while training goes on: the last ones, and the best epoch's besides."""

    def choosing_metric(self, headline: str) -> str:
        """The metric that chooses the epoch; `headline` names the hit-rate at the headline K."""
        return {"hit_rate": headline, "mrr": "mrr", "both": GEOMETRIC_MEAN}[self.choose_by]

    @model_validator(mode="after")
    def _has_a_pair_for_each(self) -> TrainingConfig:
        if self.processes > self.batch_size:
            raise ValueError(
                f"each of the processes needs a pair of every step: lower `processes`, or raise "
                f"`batch_size` (got {self.processes:,} for {self.batch_size:,})"
            )
        return self

    @model_validator(mode="after")
    def _goes_by_queries(self) -> TrainingConfig:
        is_full = self.loss == "full_softmax"
        if self.passes > 1 and not is_full:
            raise ValueError(
                f"passes are of loss 'full_softmax' alone: set passes to 1 (got {self.passes} with "
                f"loss '{self.loss}')"
            )
        if is_full and (self.epoch_pairs or self.hold_out_edges):
            raise ValueError(
                "loss 'full_softmax' takes whole queries and one table of neighbours: set "
                f"epoch_pairs to 0 and hold_out_edges to false (got {self.epoch_pairs} and "
                f"{str(self.hold_out_edges).lower()})"
            )
        return self


CHANGES_NO_WEIGHT = frozenset(
    {"workers", "prefetch", "launcher", "address", "checkpoint_steps", "checkpoints_kept"}
)
"""Fields of `TrainingConfig` that change only how fast or how safely the same weights are
reached: they stay out of an artifact's key, and a checkpoint is resumed with others."""
