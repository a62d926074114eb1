"""The evaluate stage on a model that was really trained, for one epoch on 40 users."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest

from pinsage import stages
from pinsage.config import Baseline, Config, changed, parse_config
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.metrics import hit_rate
from pinsage.evaluation.ranking import rank_pairs
from pinsage.evaluation.stage import all_interactions
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.store import Artifact, Store

NUM_USERS, NUM_ITEMS = 40, 30


def write_interactions(path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["user_id,item_id,timestamp"]
    for step in range(1200):
        user = int(rng.integers(NUM_USERS))
        # Two tastes, so that there is something to learn.
        item = int(rng.integers(NUM_ITEMS // 2)) * 2 + user % 2
        lines.append(f"u{user},i{item},{1_500_000_000 + 60 * step}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, dict[str, Artifact]]:
    root = tmp_path_factory.mktemp("evaluation")
    write_interactions(root / "interactions.csv")
    config = parse_config(
        {
            "name": "tiny",
            "root": str(root / "var"),
            "data": {"interactions": {"path": str(root / "interactions.csv")}},
            "neighbourhoods": {"size": 5, "walks": 50},
            "model": {"hidden": 8, "output": 8, "feature_channels": 4},
            "negatives": {"shared": 10},
            "training": {"epochs": 1, "batch_size": 128},
            "evaluation": {"ks": [5, 10, 500], "bootstrap": 100, "pixie_walks": 100},
        }
    )
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    parts = stages.split(config, store, ingested)
    graph = stages.graph(config, store, parts, parts)
    table = stages.neighbourhoods(config, store, graph, parts)
    trained = stages.train(config, store, parts, graph, table)
    evaluated = stages.evaluate(config, store, parts, graph, table, trained)
    return config, {
        "ingested": ingested,
        "parts": parts,
        "graph": graph,
        "table": table,
        "trained": trained,
        "evaluated": evaluated,
    }


Built = tuple[Config, dict[str, Artifact]]


def test_artifact_holds_tables_ranks_and_vectors(built: Built) -> None:
    files = built[1]["evaluated"].manifest.files
    assert set(files) == {
        "metrics.json",
        "table.md",
        "slices.md",
        "tuning.json",
        "results.parquet",
        "ranks.parquet",
        "embeddings.npy",
    }


def test_facts_agree_with_the_table_and_with_a_ranking_by_hand(built: Built) -> None:
    from pinsage.data.pairs import consecutive_pairs
    from pinsage.inference.local import embed_trained

    config, made = built
    facts = made["evaluated"].facts
    embeddings = embed_trained(
        config, made["parts"].path, made["graph"].path, made["table"].path, made["trained"].path
    )
    pairs = consecutive_pairs(made["parts"].file("test.parquet"), equal_times="drop")
    scorer = EmbeddingScorer("PinSage", embeddings)
    ranks = rank_pairs(scorer, pairs.query_row, pairs.positive_row, len(embeddings), 64)
    assert facts["test_num_pairs"] == len(ranks)
    assert facts["test_hit_rate_10"] == pytest.approx(hit_rate(ranks, 10), abs=1e-12)
    rows = pq.read_table(made["evaluated"].file("results.parquet")).to_pylist()
    (row,) = [
        row
        for row in rows
        if (row["period"], row["method"], row["slice"], row["metric"], row["k"])
        == ("test", "PinSage", "all", "hit_rate", 10)
    ]
    assert row["value"] == facts["test_hit_rate_10"]


def test_report_records_both_periods_and_how_the_baselines_were_tuned(built: Built) -> None:
    report = json.loads(built[1]["evaluated"].file("metrics.json").read_text())
    assert set(report) == {"valid", "test", "tuning", "facts"}
    # content-kNN is left out, because there is no catalog here.
    assert {trial["baseline"] for trial in report["tuning"]} == set(get_args(Baseline)) - {
        "random", "popularity", "content-kNN",
    }  # fmt: skip
    timed = json.loads(built[1]["evaluated"].file("tuning.json").read_text())
    assert [trial.pop("seconds") >= 0 for trial in timed] == [True] * len(timed)
    assert timed == report["tuning"]
    for name in {trial["baseline"] for trial in timed}:
        tried = [trial for trial in timed if trial["baseline"] == name]
        assert 1 <= len(tried) <= built[0].evaluation.trials
        assert sum(trial["chosen"] for trial in tried) == 1
    assert report["facts"] == built[1]["evaluated"].facts
    assert list(report["test"]["methods"])[-1] == "PinSage"


def test_table_has_a_section_a_period(built: Built) -> None:
    text = built[1]["evaluated"].file("table.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Validation", "Test"]


def test_changing_the_test_period_changes_nothing_on_validation(
    built: Built, tmp_path: Path
) -> None:
    """No baseline, tuned setting or validation number may depend on what comes later."""
    from pinsage.evaluation.stage import write_evaluation

    config, made = built
    parts = tmp_path / "parts"
    parts.mkdir()
    for name in ("train.parquet", "valid.parquet", "items.parquet"):
        (parts / name).write_bytes(made["parts"].file(name).read_bytes())
    future = pq.read_table(made["parts"].file("test.parquet"))
    pq.write_table(future.slice(0, len(future) // 2), parts / "test.parquet")
    out = tmp_path / "out"
    out.mkdir()
    write_evaluation(
        config, parts, made["graph"].path, made["table"].path, made["trained"].path, out,
    )  # fmt: skip
    before = json.loads(made["evaluated"].file("metrics.json").read_text())
    after = json.loads((out / "metrics.json").read_text())
    assert (after["valid"], after["tuning"]) == (before["valid"], before["tuning"])
    assert after["test"] != before["test"]


def test_any_number_can_be_counted_again_from_the_ranks_of_the_pairs(built: Built) -> None:
    ranks = pq.read_table(built[1]["evaluated"].file("ranks.parquet")).to_pandas()
    rows = pq.read_table(built[1]["evaluated"].file("results.parquet")).to_pandas()
    degree = BipartiteGraph.open(built[1]["graph"].path).item_degree
    assert (ranks["timestamp"].diff()[ranks["user_row"].diff() == 0] >= 0).all()
    for period, method in (("test", "PinSage"), ("valid", "EASE"), ("test", "Pixie")):
        pairs = ranks[ranks["period"] == period]
        rare = pairs[(degree[pairs["positive_row"]] > 0) & (degree[pairs["positive_row"]] < 10)]
        for chosen, part in ((pairs, "all"), (rare, "rare")):
            found = rows[
                (rows["period"] == period) & (rows["method"] == method) & (rows["slice"] == part)
                & (rows["metric"] == "hit_rate") & (rows["k"] == 10)
            ]  # fmt: skip
            (row,) = found.to_dict("records")
            assert row["num_pairs"] == len(chosen)
            if len(chosen):
                assert row["value"] == pytest.approx((chosen[method] <= 10).mean())


def test_the_evaluated_vectors_are_kept(built: Built) -> None:
    vectors = np.load(built[1]["evaluated"].file("embeddings.npy"))
    ranks = pq.read_table(built[1]["evaluated"].file("ranks.parquet")).to_pandas()
    test = ranks[ranks["period"] == "test"]
    again = rank_pairs(
        EmbeddingScorer("PinSage", vectors),
        test["query_row"].to_numpy(), test["positive_row"].to_numpy(), len(vectors), 8,
    )  # fmt: skip
    assert again.tolist() == test["PinSage"].tolist()


def test_rivals_and_slices_know_the_interactions_that_a_graph_leaves_out(built: Built) -> None:
    config, made = built
    whole = BipartiteGraph.open(made["graph"].path)
    capped = changed(config, {"graph.max_context_degree": 3})
    parts, store = made["parts"], Store(config.root)
    thin = BipartiteGraph.open(stages.graph(capped, store, parts, parts).path)
    assert thin.num_edges < whole.num_edges
    found = all_interactions(capped, parts.path, thin)
    for name in ("item_indptr", "item_indices", "context_indptr", "context_indices"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    assert all_interactions(config, parts.path, whole) is whole
