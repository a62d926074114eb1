"""The whole configuration: one tree, read from TOML, shown as a form in the Prefect UI.

Every field has a title, a help text with its unit, and bounds; unknown keys are refused. The tree
is frozen: a stage sees exactly the settings that its artifact's key was computed from.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from pinsage.config.base import Settings
from pinsage.config.data import (
    CHANGES_NO_ROW,
    ContractConfig,
    DataConfig,
    FeatureKind,
    InteractionsConfig,
    ItemsConfig,
    Source,
    SplitConfig,
    TimestampUnit,
)
from pinsage.config.gate import CHANGES_NO_VERDICT, DriftConfig, DriftGroup, GateConfig
from pinsage.config.graph import GraphConfig
from pinsage.config.layers import read_layers
from pinsage.config.learning import (
    CHANGES_NO_NEIGHBOUR,
    CHANGES_NO_WEIGHT,
    GEOMETRIC_MEAN,
    ChooseBy,
    ModelConfig,
    NegativesConfig,
    NeighbourhoodConfig,
    PairsConfig,
    TrainingConfig,
)
from pinsage.config.results import (
    CHANGES_NO_CONTEXT,
    CHANGES_NO_EMBEDDING,
    Baseline,
    ContextsConfig,
    EmbedConfig,
    EvaluationConfig,
    IndexConfig,
    PublishConfig,
    ReportConfig,
    RetentionConfig,
    TrackingConfig,
)
from pinsage.errors import ConfigError

__all__ = [
    "CHANGES_NO_CONTEXT",
    "CHANGES_NO_EMBEDDING",
    "CHANGES_NO_NEIGHBOUR",
    "CHANGES_NO_ROW",
    "CHANGES_NO_VERDICT",
    "CHANGES_NO_WEIGHT",
    "GEOMETRIC_MEAN",
    "Baseline",
    "ChooseBy",
    "Config",
    "ContextsConfig",
    "ContractConfig",
    "DataConfig",
    "DriftConfig",
    "DriftGroup",
    "EmbedConfig",
    "EvaluationConfig",
    "FeatureKind",
    "GateConfig",
    "GraphConfig",
    "IndexConfig",
    "InteractionsConfig",
    "ItemsConfig",
    "ModelConfig",
    "NegativesConfig",
    "NeighbourhoodConfig",
    "PairsConfig",
    "PublishConfig",
    "ReportConfig",
    "RetentionConfig",
    "Settings",
    "Source",
    "SplitConfig",
    "TimestampUnit",
    "TrackingConfig",
    "TrainingConfig",
    "changed",
    "expand",
    "load_config",
    "parse_config",
]

Origin = Callable[[Sequence[int | str]], str | None]


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
    graph: GraphConfig = GraphConfig()
    """Which interactions are edges, and what an edge weighs."""
    neighbourhoods: NeighbourhoodConfig = NeighbourhoodConfig()
    """Random walks and the neighbours they choose."""
    model: ModelConfig = ModelConfig()
    """Encoders, convolutions and head."""
    pairs: PairsConfig = PairsConfig()
    """What is learnt from."""
    negatives: NegativesConfig = NegativesConfig()
    """What a positive is told from."""
    training: TrainingConfig = TrainingConfig()
    """How the weights are found."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """How the model is ranked beside the baselines."""
    embed: EmbedConfig = EmbedConfig()
    """How every item is embedded."""
    contexts: ContextsConfig = ContextsConfig()
    """How users get vectors of their own."""
    index: IndexConfig = IndexConfig()
    """How nearest neighbours are found."""
    report: ReportConfig = ReportConfig()
    """What the report shows."""
    gate: GateConfig = GateConfig()
    """Whether what was built may replace what readers follow."""
    publish: PublishConfig = PublishConfig()
    """What is kept for consumers."""
    retention: RetentionConfig = RetentionConfig()
    """How long what nobody needs any more is kept."""
    tracking: TrackingConfig = TrackingConfig()
    """Where MLflow records the run."""

    @model_validator(mode="after")
    def _embeds_what_was_trained(self) -> Config:
        if self.embed.graph == "train" and self.data.items is None:
            raise ValueError(
                "embed.graph = 'train' needs a catalog (data.items): without one, items first "
                "seen after training have no place in its graph; use 'full'"
            )
        return self

    @model_validator(mode="after")
    def _walks_by_weight_everywhere(self) -> Config:
        if self.pairs.context_share < 1 and self.graph.weights != "none":
            raise ValueError(
                "pairs.context_share trains on a graph of some contexts, whose edges all weigh the "
                f"same: set it to 1, or graph.weights to 'none' (got {self.pairs.context_share} "
                f"and {self.graph.weights!r})"
            )
        return self

    @model_validator(mode="after")
    def _sums_over_all(self) -> Config:
        full, negatives = self.training.loss == "full_softmax", self.negatives
        if full and (negatives.exclude_positives or negatives.hard or negatives.in_batch):
            raise ValueError(
                "training.loss 'full_softmax' tells a positive from all other items, the query's "
                "other positives among them: set negatives.exclude_positives and "
                "negatives.in_batch to false and negatives.hard to 0 (got "
                f"{str(negatives.exclude_positives).lower()}, {str(negatives.in_batch).lower()} "
                f"and {negatives.hard})"
            )
        return self

    @field_validator("root")
    @classmethod
    def _expanded(cls, root: Path) -> Path:
        try:
            return Path(expand(str(root), field="root"))
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("root: ")) from None


def load_config(path: str | Path | Sequence[str | Path], overrides: tuple[str, ...] = ()) -> Config:
    """Read a TOML file, or several, of which later ones change what earlier ones say.

    `overrides` are `group.key=value` with values in TOML syntax. Raises ConfigError naming the
    file, the key, what was found and what was expected.
    """
    files = [path] if isinstance(path, str | Path) else path
    layers = read_layers([Path(file) for file in files], overrides)
    # One file's mistakes are its own; of several, each mistake says which one made it.
    origin = layers.origin if len(files) > 1 else _nobody
    return parse_config(layers.tree, where=layers.where, origin=origin)


def parse_config(
    tree: dict[str, Any], *, where: str = "configuration", origin: Origin | None = None
) -> Config:
    """Validate a nested dictionary; `where` begins every message.

    `origin` says which file gave the value at a place, where there are several.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(_explain(where, error, origin or _nobody)) from None


def changed(config: Config, changes: Mapping[str, Any], *, where: str = "changes") -> Config:
    """The configuration with some values replaced, by `group.key`; validated like a file.

    A root or a path that was expanded when the configuration was read is taken as it is.
    """
    tree = config.model_dump(mode="json")
    for key, value in changes.items():
        *groups, leaf = key.split(".")
        node = tree
        for group in groups:
            node = node[group]
        node[leaf] = value
    return parse_config(tree, where=where)


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


def _nobody(_place: Sequence[int | str]) -> None:
    return None


def _explain(where: str, error: ValidationError, origin: Origin) -> str:
    lines = []
    missing = set()
    for problem in error.errors():
        giver = origin(problem["loc"])
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        shown_key = f"{key} (from {giver})" if giver else key
        if problem["type"] == "extra_forbidden":
            lines.append(f"{shown_key}: unknown key; `pinsage config` lists those there are")
        elif problem["type"] == "missing":
            lines.append(f"{key}: missing, and it has no default")
            missing.add(key)
        else:
            message = problem["msg"].removeprefix("Value error, ")
            found = problem["input"]
            shown = f" (got {found!r})" if not isinstance(found, dict) else ""
            lines.append(f"{shown_key}: {message[0].lower()}{message[1:]}{shown}")
    if {"name", "data"} <= missing:
        lines.append("a profile such as configs/paper.toml is named after a data set's file")
    return f"{where}: " + "; ".join(lines)
