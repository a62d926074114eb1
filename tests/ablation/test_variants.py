"""The rows of an ablation, and what a plan trains."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pinsage.ablation.variants import REFERENCE, VARIANTS, Plan
from pinsage.config import Config, changed, load_config
from pinsage.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_rows_are_those_of_the_paper() -> None:
    assert [(each.group, each.name) for each in VARIANTS] == [
        ("table-1", "content only"),
        ("table-1", "max pooling"),
        ("table-1", "mean pooling"),
        ("table-1", "mean pooling, cross-entropy"),
        ("table-1", "mean pooling, hard negatives"),
        ("table-1", "PinSage"),
        ("neighbourhoods", "T = 10"),
        ("neighbourhoods", "T = 20"),
        ("neighbourhoods", "T = 50"),
        ("batches", "batch 512"),
        ("batches", "batch 1,024"),
        ("batches", "batch 2,048"),
    ]


def test_a_row_means_the_same_over_every_base(tiny_config: Config) -> None:
    other = changed(
        tiny_config,
        {"model.aggregator": "max", "training.loss": "softmax", "negatives.hard": 2},
    )
    for variant in VARIANTS:
        one, two = variant.of(tiny_config, 1), variant.of(other, 1)
        assert one == two, variant.name


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_data_set_can_be_planned_as_it_is(path: Path) -> None:
    if "data" not in tomllib.loads(path.read_text()):
        pytest.skip("a profile, of no data")
    assert len(Plan.of(load_config(path)).trials) == 3 * len(VARIANTS)


@pytest.mark.parametrize(
    ("name", "layers", "aggregator", "loss", "hard", "ids"),
    [
        ("content only", 0, "importance", "max_margin", 0, False),
        ("max pooling", 2, "max", "max_margin", 0, True),
        ("mean pooling", 2, "mean", "max_margin", 0, True),
        ("mean pooling, cross-entropy", 2, "mean", "cross_entropy", 0, True),
        ("mean pooling, hard negatives", 2, "mean", "max_margin", 6, True),
        ("PinSage", 2, "importance", "max_margin", 6, True),
    ],
)
def test_a_row_of_table_1_has_these_settings(
    tiny_config: Config, name: str, layers: int, aggregator: str, loss: str, hard: int, ids: bool
) -> None:
    [variant] = [each for each in VARIANTS if each.name == name]
    config = variant.of(tiny_config, 7)
    assert (config.model.layers, config.model.aggregator) == (layers, aggregator)
    assert (config.training.loss, config.negatives.hard) == (loss, hard)
    assert (config.model.id_embedding, config.seed) == (ids, 7)


def test_every_other_row_is_the_reference_with_one_thing_changed() -> None:
    for variant in VARIANTS:
        if variant.group != "table-1":
            differing = dict(variant.changes.items() - REFERENCE.changes.items())
            assert len(differing) == 1, variant.name


def test_a_plan_has_every_row_with_every_seed_and_no_two_alike(tiny_config: Config) -> None:
    plan = Plan.of(tiny_config, seeds=3)
    assert len(plan.trials) == len(VARIANTS) * 3
    assert plan.seeds == (tiny_config.seed, tiny_config.seed + 1, tiny_config.seed + 2)
    assert len({trial.name for trial in plan.trials}) == len(plan.trials)
    assert [trial.config.seed for trial in plan.trials[:3]] == list(plan.seeds)


def test_a_choice_of_rows_and_groups_keeps_the_reference_and_the_order(tiny_config: Config) -> None:
    plan = Plan.of(tiny_config, seeds=1, only=["batches", "max pooling"])
    names = [variant.name for variant in plan.variants]
    assert names == ["max pooling", "PinSage", "batch 512", "batch 1,024", "batch 2,048"]


def test_an_unknown_row_is_refused_with_those_there_are(tiny_config: Config) -> None:
    with pytest.raises(
        ConfigError, match=r"'min pooling'; there are the groups table-1, .*PinSage"
    ):
        Plan.of(tiny_config, only=["max pooling", "min pooling"])


def test_no_seed_is_refused(tiny_config: Config) -> None:
    with pytest.raises(ConfigError, match=r"seeds: expected at least 1, better 3 \(got 0\)"):
        Plan.of(tiny_config, seeds=0)
