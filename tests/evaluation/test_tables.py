"""Tables and facts of one small evaluation."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from pinsage.config import DataConfig, EvaluationConfig
from pinsage.data.pairs import Pairs
from pinsage.evaluation.protocol import evaluate
from pinsage.evaluation.ranking import Scorer
from pinsage.evaluation.results import Catalog, Results
from pinsage.evaluation.slices import SUPPORT, Part, categories_of
from pinsage.evaluation.stage import headline_facts
from pinsage.evaluation.table import slices_to_markdown, to_json, to_markdown, to_rows
from pinsage.graph.bipartite import BipartiteGraph

HOSTILE = "a|b<script>"
WARM, COLD = Part(SUPPORT, "warm"), Part(SUPPORT, "cold")


@pytest.fixture(scope="module")
def results(graph: BipartiteGraph, pairs: Pairs, scorers: dict[str, Scorer]) -> Results:
    """With categories named to break a table, and times, but without content."""
    features = {HOSTILE: "categorical"}
    data = DataConfig.model_validate(
        {"interactions": {"path": "x"}, "items": {"path": "y", "features": features}}
    )
    items = pd.DataFrame({HOSTILE: ["plain" if row % 2 else HOSTILE for row in range(60)]})
    degree = graph.item_degree
    catalog = Catalog(degree, graph.num_contexts, categories_of(items, degree, data, None))
    timed = Pairs(pairs.user_row, pairs.query_row, pairs.positive_row, np.arange(len(pairs)))
    config = EvaluationConfig(ks=(5, 10), bootstrap=100)
    return evaluate(list(scorers.values()), timed, catalog, config=config, seed=1)


def test_rows_hold_every_number_with_chance_beside_a_hit_rate(results: Results) -> None:
    rows = to_rows("test", results)
    (row,) = [
        row
        for row in rows
        if (row["method"], row["dimension"], row["slice"], row["metric"], row["k"])
        == ("Pixie", SUPPORT, "warm", "hit_rate", 10)
    ]
    interval = results.get("Pixie", "hit_rate_10", WARM)
    assert (row["value"], row["low"], row["high"]) == (interval.value, interval.low, interval.high)
    assert row["chance"] == 10 / 60
    assert row["num_pairs"] == results.parts[WARM]
    # A curve and two MRRs over all pairs; four numbers of each of 3 + 10 + 5 + 2 slices.
    assert len(rows) == 6 * (len(results.curve_ks) + 2 + 20 * 4)


def test_json_is_strict_and_holds_every_method(results: Results) -> None:
    tree = json.loads(json.dumps(to_json(results), allow_nan=False))
    assert tree["chance"] == {"hit_rate_5": 5 / 60, "hit_rate_10": 10 / 60}
    assert set(tree["methods"]) == set(tree["beyond"]) == set(results.methods)
    assert tree["methods"]["item-kNN"]["mrr"]["value"] == results.get("item-kNN", "mrr").value
    assert tree["beyond"]["item-kNN"]["diversity"] is None  # no content was given
    assert tree["time_edges"][0] == "1970-01-01T00:00:00+00:00"


def test_markdown_has_narrow_tables_of_even_width_and_bold_bests(results: Results) -> None:
    tables = to_markdown(results).split("\n\n")
    heads = [table.split("\n")[0].split(" | ")[1:] for table in tables[:-1]]
    assert all(len(head) <= 3 for head in heads)  # a page of Prefect's cuts what is wider
    assert len([name for head in heads for name in head]) == len(results.metrics)
    for table in tables:
        lines = table.split("\n")
        assert len(lines) == 2 + len(results.methods)
        assert len({line.count("|") for line in lines}) == 1
    best = results.best("hit_rate_10", results.methods)
    assert re.search(rf"\| {best} \|.*\*\*", tables[0])
    assert "HR@10 (K/N .167)" in tables[0]


def test_each_dimension_has_a_table_and_a_hostile_category_breaks_none(results: Results) -> None:
    tables = slices_to_markdown(results).split("\n\n")
    heads = [table.split("\n")[0] for table in tables]
    assert [head.split("by ")[1].split(" ")[0] for head in heads[:3]] == [
        "support", "popularity", "time",
    ]  # fmt: skip
    assert HOSTILE not in heads[3]
    assert "a&#124;b&#60;script&#62; (" in heads[3]
    for table in tables:
        assert len({line.count("|") for line in table.split("\n")}) == 1


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
