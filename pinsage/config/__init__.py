"""The whole configuration: one tree, read from TOML, shown as a form in the Prefect UI.

Every field has a title, a help text with its unit, and bounds; unknown keys are refused. The tree
is frozen: a stage sees exactly the settings that its artifact's key was computed from.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from pinsage.config.base import Settings
from pinsage.config.data import (
    ContractConfig,
    DataConfig,
    FeatureKind,
    InteractionsConfig,
    ItemsConfig,
    Source,
    SplitConfig,
    TimestampUnit,
)
from pinsage.config.learning import (
    CHANGES_NO_WEIGHT,
    ModelConfig,
    NegativesConfig,
    NeighbourhoodConfig,
    PairsConfig,
    TrainingConfig,
)
from pinsage.config.results import (
    Baseline,
    EmbedConfig,
    EvaluationConfig,
    IndexConfig,
    PublishConfig,
    ReportConfig,
    TrackingConfig,
)
from pinsage.errors import ConfigError

__all__ = [
    "CHANGES_NO_WEIGHT",
    "Baseline",
    "Config",
    "ContractConfig",
    "DataConfig",
    "EmbedConfig",
    "EvaluationConfig",
    "FeatureKind",
    "IndexConfig",
    "InteractionsConfig",
    "ItemsConfig",
    "ModelConfig",
    "NegativesConfig",
    "NeighbourhoodConfig",
    "PairsConfig",
    "PublishConfig",
    "ReportConfig",
    "Settings",
    "Source",
    "SplitConfig",
    "TimestampUnit",
    "TrackingConfig",
    "TrainingConfig",
    "expand",
    "load_config",
    "parse_config",
]


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
    index: IndexConfig = IndexConfig()
    """How nearest neighbours are found."""
    report: ReportConfig = ReportConfig()
    """What the report shows."""
    publish: PublishConfig = PublishConfig()
    """What is kept for consumers."""
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
