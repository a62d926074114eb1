"""What may be chosen: a small set of settings, each with its bounds and the reason it is here.

The base's own value always belongs to the space, so that the first trial is the base itself and
the best of a study is never worse on validation than what it started from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pinsage.config import Config
from pinsage.errors import ConfigError

if TYPE_CHECKING:
    from optuna.trial import Trial

Values = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """A setting counts only where another one is, or is not, among some values."""

    key: str
    values: tuple[Any, ...]
    is_among: bool = True

    def holds(self, value: Any) -> bool:
        """Whether it holds for a value of the other setting."""
        return (value in self.values) == self.is_among


@dataclass(frozen=True)
class Setting:
    """A setting by its key in the configuration: one of `choices`, or from `low` to `high`."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    only: Condition | None = None

    def around(self, base: Any) -> Setting:
        """The same, widened where it does not hold the base's value."""
        if self.choices:
            return self if base in self.choices else replace(self, choices=(*self.choices, base))
        if self.log and base <= 0.0:  # a logarithm has no zero; such a base is not tried as it is
            return self
        return replace(self, low=min(self.low, base), high=max(self.high, base))

    def holds(self, value: Any) -> bool:
        """Whether a value may be chosen."""
        return value in self.choices if self.choices else self.low <= value <= self.high

    def suggest(self, trial: Trial) -> Any:
        """Let a trial choose; floats come with three digits, which is what a choice is worth."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        value = trial.suggest_float(self.key, self.low, self.high, log=self.log)
        return min(max(float(f"{value:.3g}"), self.low), self.high)


SETTINGS: tuple[Setting, ...] = (
    Setting("training.learning_rate", low=3e-4, high=1e-2, log=True),
    # What most decides what is learnt, and how sharply positives are told from negatives.
    Setting("training.loss", choices=("max_margin", "softmax", "cross_entropy")),
    Setting(
        "training.margin", low=0.03, high=1.0, log=True,
        only=Condition("training.loss", ("max_margin",)),
    ),
    Setting(
        "training.temperature", low=0.03, high=1.0, log=True,
        only=Condition("training.loss", ("max_margin",), is_among=False),
    ),
    Setting("training.weight_decay", low=1e-6, high=1e-3, log=True),
    # How far "what follows" reaches.
    Setting("pairs.window", choices=(1, 2, 5, 10)),
    Setting(
        "pairs.decay", low=0.5, high=1.0,
        only=Condition("pairs.window", (1,), is_among=False),
    ),
    Setting("pairs.equal_times", choices=("both", "drop")),
    # Between ranking relatedness (0) and ranking popularity away (1).
    Setting("negatives.power", low=0.0, high=1.0),
    Setting("negatives.hard", choices=(0, 6)),
    Setting("negatives.exclude_positives", choices=(True, False)),
    Setting("model.hidden", choices=(64, 128, 256)),
    Setting("model.layers", choices=(1, 2)),
    Setting("model.query_map", choices=(False, True)),
    Setting("neighbourhoods.size", choices=(10, 20, 50)),
    Setting(
        "model.id_dropout", low=0.0, high=0.8, only=Condition("model.id_embedding", (True,))
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Space:
    """The settings of a study, over a base."""

    base: Config
    settings: tuple[Setting, ...]

    @classmethod
    def of(cls, base: Config, only: Sequence[str] = ()) -> Space:
        """All settings, or those named. Raises ConfigError for one that is not in the space."""
        usable = [setting for setting in SETTINGS if not _is_moot(setting, base)]
        known = [setting.key for setting in usable]
        if unknown := [key for key in only if key not in known]:
            raise ConfigError(
                f"only: {', '.join(unknown)} cannot be tuned; what can be is {', '.join(known)}"
            )
        return cls(
            base,
            tuple(
                setting.around(value_of(base, setting.key))
                for setting in usable
                if not only or setting.key in only
            ),
        )

    def suggest(self, trial: Trial) -> Values:
        """Values by key; a setting whose condition does not hold is left as the base has it."""
        values: Values = {}
        for setting in self.settings:
            if setting.only is None or setting.only.holds(self._current(setting.only.key, values)):
                values[setting.key] = setting.suggest(trial)
        return values

    def start(self) -> Values:
        """The base's own values."""
        values = {each.key: value_of(self.base, each.key) for each in self.settings}
        return {
            each.key: values[each.key] for each in self.settings if each.holds(values[each.key])
        }

    def _current(self, key: str, values: Mapping[str, Any]) -> Any:
        return values[key] if key in values else value_of(self.base, key)


def _is_moot(setting: Setting, base: Config) -> bool:
    """Whether the base's steps are queries, which no negatives are drawn for.

    With another loss a batch size would be pairs, and mean another thing.
    """
    group = setting.key.split(".")[0]
    return base.training.loss == "full_softmax" and (
        group == "negatives" or setting.key == "training.loss"
    )


def value_of(config: Config, key: str) -> Any:
    """A value of the configuration by `group.key`."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value
