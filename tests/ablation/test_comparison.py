"""The statistics of an ablation against plain loops over users, pairs and seeds."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import numpy.typing as npt
import pytest

from pinsage.ablation.comparison import Comparison, common_users
from pinsage.ablation.figure import ablation_figure
from pinsage.ablation.table import Cost, to_markdown, to_rows
from pinsage.ablation.variants import Plan
from pinsage.config import Config, changed
from pinsage.errors import ArtifactError
from pinsage.evaluation.bootstrap import draw_users
from tests.report.cut_off import cut_off

NUM_ITEMS, NUM_USERS, NUM_PAIRS, SEEDS = 40, 12, 90, 3
ROWS = ("max pooling", "PinSage")

Ranks = dict[str, list[npt.NDArray[np.float64]]]


@pytest.fixture
def users() -> npt.NDArray[np.int32]:
    return np.sort(np.random.default_rng(1).integers(0, NUM_USERS, NUM_PAIRS)).astype(np.int32)


@pytest.fixture
def ranks() -> Ranks:
    rng = np.random.default_rng(2)
    return {
        name: [rng.integers(1, NUM_ITEMS, NUM_PAIRS).astype(float) for _ in range(SEEDS)]
        for name in ROWS
    }


@pytest.fixture
def found(ranks: Ranks, users: npt.NDArray[np.int32], tiny_config: Config) -> Comparison:
    return Comparison.of(ranks, users, reference="PinSage", config=tiny_config, num_items=NUM_ITEMS)


def slow_rate(seeds: list[npt.NDArray[np.float64]], pairs: list[int], k: int) -> float:
    """Mean over pairs of the share of seeds that put the pair's positive among the k best."""
    return fmean(fmean(float(ranks[pair] <= k) for ranks in seeds) for pair in pairs)


def test_a_rows_value_is_the_mean_of_its_seeds(found: Comparison, ranks: Ranks) -> None:
    for name in ROWS:
        each = [fmean(float(rank <= 10) for rank in seed) for seed in ranks[name]]
        assert found.by_seed[name, "hit_rate_10"] == pytest.approx(each)
        assert found.get(name, "hit_rate_10").value == pytest.approx(fmean(each))
        assert found.spread(name, "hit_rate_10") == pytest.approx(stdev(each))
        reciprocal = fmean(fmean(1 / rank for rank in seed) for seed in ranks[name])
        assert found.get(name, "mrr").value == pytest.approx(reciprocal)


def test_intervals_and_paired_differences_equal_a_loop_over_resampled_users(
    found: Comparison, ranks: Ranks, users: npt.NDArray[np.int32], tiny_config: Config
) -> None:
    distinct = sorted(set(users.tolist()))
    pairs_of = [[p for p in range(NUM_PAIRS) if users[p] == user] for user in distinct]
    rates: dict[str, list[float]] = {name: [] for name in ROWS}
    for drawn in draw_users(len(distinct), tiny_config.evaluation.bootstrap, tiny_config.seed):
        pairs = [pair for user in drawn for pair in pairs_of[user]]
        for name in ROWS:
            rates[name].append(slow_rate(ranks[name], pairs, 10))
    for name in ROWS:
        low, high = np.quantile(rates[name], (0.025, 0.975))
        number = found.get(name, "hit_rate_10")
        assert (number.low, number.high) == pytest.approx((low, high))
    lifts = np.subtract(rates["max pooling"], rates["PinSage"])
    lift = found.difference("max pooling", "hit_rate_10")
    assert (lift.low, lift.high) == pytest.approx(tuple(np.quantile(lifts, (0.025, 0.975))))
    every = list(range(NUM_PAIRS))
    expected = slow_rate(ranks["max pooling"], every, 10) - slow_rate(ranks["PinSage"], every, 10)
    assert lift.value == pytest.approx(expected)


def test_the_reference_does_not_differ_from_itself(found: Comparison) -> None:
    lift = found.difference("PinSage", "mrr")
    assert (lift.value, lift.low, lift.high) == (0.0, 0.0, 0.0)


def test_one_seed_has_no_spread(
    ranks: Ranks, users: npt.NDArray[np.int32], tiny_config: Config
) -> None:
    alone = {name: seeds[:1] for name, seeds in ranks.items()}
    found = Comparison.of(
        alone, users, reference="PinSage", config=tiny_config, num_items=NUM_ITEMS
    )
    assert math.isnan(found.spread("PinSage", "mrr"))


def test_the_headline_is_the_cut_off_that_chose_the_epoch(found: Comparison) -> None:
    assert found.headline == "hit_rate_10"
    assert found.metrics == ("hit_rate_5", "hit_rate_10", "mrr", "mrr_scaled")


def test_trainings_that_ranked_other_pairs_are_not_compared() -> None:
    one, two = np.array([1, 2], np.int32), np.array([1, 3], np.int32)
    assert common_users({"a": one, "b": one.copy()}, "test").tolist() == [1, 2]
    with pytest.raises(ArtifactError, match="test: b ranked other pairs than a"):
        common_users({"a": one, "b": two}, "test")


def report(epoch: int, score: float) -> dict[str, object]:
    return {"epoch": epoch, "metrics": {"hit_rate_10": score}, "seconds": 2.0}


def test_the_cost_is_the_mean_of_the_seeds_and_the_best_epoch_that_of_validation() -> None:
    histories = [
        [report(1, 0.1), report(2, 0.3), report(3, 0.3)],
        [report(1, 0.4)],
    ]
    assert Cost.of(histories, "hit_rate_10") == Cost(epochs=2.0, best_epoch=1.5, seconds=4.0)


def test_the_table_and_the_rows_hold_the_same_numbers(
    found: Comparison, tiny_config: Config
) -> None:
    plan = Plan.of(tiny_config, seeds=SEEDS, only=["max pooling"])
    costs = {name: Cost(3.0, 2.0, 61.0) for name in ROWS}
    rows = {(row["variant"], row["metric"]): row for row in to_rows(plan, {"test": found}, costs)}
    assert len(rows) == len(ROWS) * len(found.metrics)
    row = rows["max pooling", "mrr"]
    assert row["value"] == found.get("max pooling", "mrr").value
    assert row["seed_sd"] == pytest.approx(np.std(row["seed_values"], ddof=1))
    text = to_markdown(plan, {"test": ("Test", found)}, costs)
    [line] = [line for line in text.splitlines() if line.startswith("| max pooling |")]
    assert f"{row['value']:.3f}".removeprefix("0") in line
    assert "1 min 01 s" in line
    assert "Means of 3 seeds; 95% intervals" in text
    assert "batch" not in text


def test_other_settings_of_the_bootstrap_are_used(
    ranks: Ranks, users: npt.NDArray[np.int32], tiny_config: Config
) -> None:
    config = changed(tiny_config, {"evaluation.confidence": 0.6, "evaluation.ks": [3]})
    found = Comparison.of(ranks, users, reference="PinSage", config=config, num_items=NUM_ITEMS)
    assert found.headline == "hit_rate_3"
    assert found.estimates.confidence == 0.6


def test_no_text_of_the_figure_of_all_rows_is_cut_off(
    users: npt.NDArray[np.int32], tiny_config: Config
) -> None:
    plan = Plan.of(tiny_config, seeds=SEEDS)
    rng = np.random.default_rng(3)
    ranks = {
        row.name: [rng.integers(1, NUM_ITEMS, NUM_PAIRS).astype(float) for _ in range(SEEDS)]
        for row in plan.variants
    }
    found = Comparison.of(
        ranks, users, reference="PinSage", config=tiny_config, num_items=NUM_ITEMS
    )
    figure = ablation_figure(plan, found, "Validation")
    assert len(figure.axes) > 1
    assert cut_off(figure) == []
