"""What may be tuned, over which base."""

from __future__ import annotations

import optuna
import pytest

from pinsage.config import Config, changed
from pinsage.errors import ConfigError
from pinsage.tuning.space import SETTINGS, Space, value_of


def suggested(space: Space, number: int = 30) -> list[dict[str, object]]:
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(sampler=sampler)
    return [space.suggest(study.ask()) for _ in range(number)]


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_every_suggestion_is_a_valid_configuration(tiny_config: Config) -> None:
    space = Space.of(tiny_config)
    for values in suggested(space):
        config = changed(tiny_config, values)
        assert {key: value_of(config, key) for key in values} == values


def test_a_setting_is_left_alone_where_its_condition_does_not_hold(tiny_config: Config) -> None:
    without_ids = changed(tiny_config, {"model.id_embedding": False})
    for values in suggested(Space.of(without_ids)):
        assert ("training.margin" in values) == (values["training.loss"] == "max_margin")
        assert ("training.temperature" in values) == (values["training.loss"] != "max_margin")
        assert ("pairs.decay" in values) == (values["pairs.window"] != 1)
        assert "model.id_dropout" not in values
    assert any("model.id_dropout" in values for values in suggested(Space.of(tiny_config)))


def test_a_condition_on_a_setting_that_is_not_tuned_goes_by_the_base(tiny_config: Config) -> None:
    softmax = changed(tiny_config, {"training.loss": "softmax"})
    only = ["training.margin", "training.temperature"]
    assert all(list(each) == only[1:] for each in suggested(Space.of(softmax, only), 3))
    assert all(list(each) == only[:1] for each in suggested(Space.of(tiny_config, only), 3))


def test_over_a_full_softmax_neither_the_loss_nor_negatives_are_tuned(tiny_config: Config) -> None:
    of_queries = {"training.loss": "full_softmax", "negatives.exclude_positives": False}
    space = Space.of(changed(tiny_config, of_queries))
    for values in suggested(space, 10):
        changed(space.base, values)
        assert not [key for key in values if key.startswith("negatives.")]
        assert "training.loss" not in values
    with pytest.raises(ConfigError, match=r"training\.loss cannot be tuned"):
        Space.of(space.base, ["training.loss"])


def test_the_base_is_always_in_the_space(tiny_config: Config) -> None:
    odd = changed(
        tiny_config,
        {"model.hidden": 48, "training.learning_rate": 0.5, "pairs.window": 7},
    )
    space = Space.of(odd)
    start = space.start()
    assert (start["model.hidden"], start["training.learning_rate"]) == (48, 0.5)
    assert start["pairs.window"] == 7
    assert len(start) == len(SETTINGS)


def test_a_base_without_weight_decay_is_started_from_without_it(tiny_config: Config) -> None:
    space = Space.of(changed(tiny_config, {"training.weight_decay": 0.0}))
    assert "training.weight_decay" not in space.start()


def test_floats_have_three_digits_within_their_bounds(tiny_config: Config) -> None:
    for values in suggested(Space.of(tiny_config, ["training.learning_rate"])):
        rate = values["training.learning_rate"]
        assert isinstance(rate, float)
        assert rate == float(f"{rate:.3g}")
        assert 3e-4 <= rate <= 1e-2


def test_what_cannot_be_tuned_is_refused_with_what_can(tiny_config: Config) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.epochs cannot be tuned; what can be is .*los"
    ):
        Space.of(tiny_config, ["training.epochs"])
