"""How neighbours are chosen, what the model is, and how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pinsage.config.base import Settings


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
