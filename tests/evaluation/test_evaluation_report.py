"""Tables, figures and facts of one small evaluation."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pinsage.config import EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.evaluation.plots import (
    hit_rate_figure,
    mrr_figure,
    save_figure,
    training_figure,
)
from pinsage.evaluation.protocol import evaluate
from pinsage.evaluation.ranking import Scorer
from pinsage.evaluation.results import Results
from pinsage.evaluation.stage import headline_facts
from pinsage.evaluation.table import to_json, to_markdown, to_rows
from pinsage.graph.bipartite import BipartiteGraph


@pytest.fixture(scope="module")
def results(graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]) -> Results:
    config = EvaluationConfig(ks=(5, 10), bootstrap=100)
    return evaluate(list(scorers.values()), pairs, degree=graph.item_degree, config=config, seed=1)


def test_rows_hold_every_number_with_chance_beside_a_hit_rate(results: Results) -> None:
    rows = to_rows("test", results)
    (row,) = [
        row
        for row in rows
        if (row["method"], row["slice"], row["metric"], row["k"])
        == ("Pixie", "warm", "hit_rate", 10)
    ]
    interval = results.get("Pixie", "hit_rate_10", "warm")
    assert (row["value"], row["low"], row["high"]) == (interval.value, interval.low, interval.high)
    assert row["chance"] == 10 / 60
    assert row["num_pairs"] == results.slices["warm"]
    assert len(rows) == 6 * (len(results.curve_ks) + 2 + 3 * 4)


def test_json_is_strict_and_holds_every_method_and_slice(results: Results) -> None:
    tree = json.loads(json.dumps(to_json(results), allow_nan=False))
    assert tree["chance"] == {"hit_rate_5": 5 / 60, "hit_rate_10": 10 / 60}
    assert set(tree["methods"]) == set(results.methods)
    cold = tree["methods"]["item-kNN"]["cold"]["mrr"]
    assert cold["value"] == results.get("item-kNN", "mrr", "cold").value


def test_markdown_has_three_tables_of_even_width_and_bold_bests(results: Results) -> None:
    tables = to_markdown(results).split("\n\n")
    assert len(tables) == 3
    for table in tables:
        lines = table.split("\n")
        assert len(lines) == 2 + len(results.methods)
        assert len({line.count("|") for line in lines}) == 1
    best = results.best("hit_rate_10", results.methods)
    assert re.search(rf"\| {best} \|.*\*\*", tables[0])
    assert "HR@10 (K/N .167)" in tables[0]


def test_facts_are_flat_with_names_that_mlflow_takes(results: Results) -> None:
    facts = headline_facts({"valid": results, "test": results})
    assert all(re.fullmatch(r"[A-Za-z0-9_\-./ ]+", name) for name in facts)
    texts = {name for name, value in facts.items() if not isinstance(value, int | float)}
    assert texts == {"valid_best_baseline", "test_best_baseline"}
    rival = facts["test_best_baseline"]
    lift = results.difference("PinSage", rival, "hit_rate_10")
    assert facts["test_lift_hit_rate_10"] == lift.value
    assert facts["test_lift_hit_rate_10_low"] == lift.low
    assert facts["test_hit_rate_10"] == results.get("PinSage", "hit_rate_10").value
    assert facts["num_items"] == 60


def test_figures_have_a_panel_a_period_and_fixed_axes(results: Results) -> None:
    periods = {"Validation": results, "Test": results}
    for figure in (hit_rate_figure(periods), mrr_figure(periods)):
        assert len(figure.axes) == 2
    curve = hit_rate_figure(periods).axes[0]
    assert curve.get_xlim() == (1, 59)
    assert curve.get_ylim() == (0, 1)
    assert len(curve.get_legend_handles_labels()[1]) == len(results.methods)


def test_the_same_figure_is_written_as_the_same_bytes(results: Results, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        save_figure(mrr_figure({"Test": results}), tmp_path / name)
    first = (tmp_path / "one.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert first == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("epochs", [1, 5])
def test_training_figure_marks_the_best_epoch(epochs: int) -> None:
    history = [
        {"epoch": epoch, "loss": 1 / epoch, "metrics": {"mrr": 0.05 - abs(epoch - 4) / 100}}
        for epoch in range(1, epochs + 1)
    ]
    below = training_figure(history).axes[1]
    best = 4 if epochs == 5 else 1
    assert f"best: epoch {best}" in below.texts[0].get_text()
