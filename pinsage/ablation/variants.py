"""The rows of an ablation: named changes of settings, over whatever configuration is given.

Table 1 of the paper, the sizes T of its neighbourhoods and the sizes of its minibatches. A row
names everything that makes it that row, so that it means the same over every base; what it does
not name is the base's. Every row but those of Table 1 is the reference with one thing changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pinsage.config import Config, changed
from pinsage.errors import ConfigError

Changes = Mapping[str, Any]

_PINSAGE: Changes = {
    "model.aggregator": "importance",
    "training.loss": "max_margin",
    "training.passes": 1,
    "negatives.exclude_positives": True,
    "negatives.hard": 6,
    "negatives.curriculum": True,
}
_NO_HARD: Changes = {"negatives.hard": 0}


@dataclass(frozen=True)
class Variant:
    """A row: what it is called, the table it is in, and what it changes (`group.key`: value)."""

    name: str
    group: str
    changes: Changes

    def of(self, base: Config, seed: int) -> Config:
        """The base with the row's settings and a seed. Raises ConfigError where they do not fit."""
        return changed(base, {**self.changes, "seed": seed}, where=f"variant {self.name}")


def _row(name: str, *changes: Changes) -> Variant:
    return Variant(name, "table-1", {key: value for part in changes for key, value in part.items()})


REFERENCE = _row("PinSage", _PINSAGE)

VARIANTS: tuple[Variant, ...] = (
    # The paper's "visual" and "annotation" rows: nearest neighbours by content, without a graph.
    _row("content only", _PINSAGE, _NO_HARD, {"model.layers": 0, "model.id_embedding": False}),
    _row("max pooling", _PINSAGE, _NO_HARD, {"model.aggregator": "max"}),
    _row("mean pooling", _PINSAGE, _NO_HARD, {"model.aggregator": "mean"}),
    _row(
        "mean pooling, cross-entropy", _PINSAGE, _NO_HARD,
        {"model.aggregator": "mean", "training.loss": "cross_entropy"},
    ),
    _row("mean pooling, hard negatives", _PINSAGE, {"model.aggregator": "mean"}),
    REFERENCE,
    *(
        Variant(f"T = {size}", "neighbourhoods", {**_PINSAGE, "neighbourhoods.size": size})
        for size in (10, 20, 50)
    ),
    *(
        Variant(f"batch {size:,}", "batches", {**_PINSAGE, "training.batch_size": size})
        for size in (512, 1024, 2048)
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One training: a row with one seed. `config` is what is trained, seed included."""

    variant: Variant
    seed: int
    config: Config

    @property
    def name(self) -> str:
        """What logs and MLflow call it."""
        return f"{self.variant.name}, seed {self.seed}"

    @property
    def tags(self) -> dict[str, str]:
        """What MLflow's runs are searched and grouped by."""
        return {"variant": self.variant.name, "group": self.variant.group}


@dataclass(frozen=True)
class Plan:
    """What an ablation trains: every chosen row with every seed, a row's seeds side by side."""

    base: Config
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    trials: tuple[Trial, ...] = field(repr=False)

    @classmethod
    def of(cls, base: Config, *, seeds: int = 3, only: Sequence[str] = ()) -> Plan:
        """Plan `seeds` seeds, from the base's on, of the rows or groups `only`, or of all.

        The reference is always there, because all others are compared to it. Raises ConfigError
        for an unknown name, for less than one seed, and where a row does not fit the base.
        """
        if seeds < 1:
            raise ConfigError(f"seeds: expected at least 1, better 3 (got {seeds})")
        numbers = tuple(range(base.seed, base.seed + seeds))
        chosen = _choose(only)
        trials = tuple(Trial(row, seed, row.of(base, seed)) for row in chosen for seed in numbers)
        return cls(base, numbers, chosen, trials)


def _choose(only: Sequence[str]) -> tuple[Variant, ...]:
    groups = tuple(dict.fromkeys(variant.group for variant in VARIANTS))
    names = tuple(variant.name for variant in VARIANTS)
    unknown = [name for name in only if name not in (*groups, *names)]
    if unknown:
        raise ConfigError(
            f"only: no variant or group {', '.join(map(repr, unknown))}; there are the groups "
            f"{', '.join(groups)} and the variants {'; '.join(names)}"
        )
    return tuple(
        variant
        for variant in VARIANTS
        if not only or {variant.name, variant.group} & set(only) or variant is REFERENCE
    )
