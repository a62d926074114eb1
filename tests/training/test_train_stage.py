"""The train stage: what it writes, and what it refuses."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pinsage import stages
from pinsage.config import Config
from pinsage.data.pairs import consecutive_pairs
from pinsage.errors import TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.inference.local import embed_trained
from pinsage.model.io import load_model
from pinsage.store import Artifact, Store, Workspace
from pinsage.training.loader import PairLoader
from pinsage.training.pairs import training_pairs
from pinsage.training.stage import pick_device, write_trained

MakeConfig = Callable[..., Config]


def train_again(run: SimpleNamespace, root: Path, **changes: Any) -> Artifact:
    """The stage over the run's inputs, into another store."""
    training = run.config.training.model_copy(update=changes)
    config = run.config.model_copy(update={"training": training, "root": root})
    store = Store(root)
    return stages.train(config, store, run.split, run.graph, run.table)


def test_it_writes_the_best_model_and_its_history(tiny_run: SimpleNamespace) -> None:
    history = json.loads(tiny_run.train.file("history.json").read_text())
    facts = tiny_run.train.facts
    assert [report["epoch"] for report in history] == list(range(1, facts["epochs"] + 1))
    best = max(history, key=lambda report: report["metrics"]["hit_rate_10"])  # the first of ties
    assert facts["best_epoch"] == best["epoch"]
    assert {name: facts[f"best_{name}"] for name in best["metrics"]} == best["metrics"]
    model = load_model(tiny_run.train.path / "model")
    assert facts["num_parameters"] == sum(p.numel() for p in model.parameters())


def test_the_mrr_chooses_the_epoch_where_it_is_asked_to(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    trained = train_again(tiny_run, tmp_path, choose_by="mrr", epochs=4, patience=4)
    history = json.loads(trained.file("history.json").read_text())
    best = max(history, key=lambda report: report["metrics"]["mrr"])
    assert trained.facts["best_epoch"] == best["epoch"]
    assert trained.facts["best_mrr"] == best["metrics"]["mrr"]


def test_a_training_does_not_keep_the_catalog_of_the_one_before(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    gc.collect()
    gc.disable()  # as good as in a process with millions of objects
    try:
        for seed in range(3):
            train_again(tiny_run, tmp_path, learning_rate=1e-3 * (seed + 1))
        loaders = [each for each in gc.get_objects() if type(each) is PairLoader]
    finally:
        gc.enable()
    assert len(loaders) == 1


def test_both_choose_the_epoch_where_they_are_asked_to(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    trained = train_again(tiny_run, tmp_path, choose_by="both", epochs=4, patience=4)
    history = json.loads(trained.file("history.json").read_text())
    scores = [(r["metrics"]["hit_rate_10"] * r["metrics"]["mrr"]) ** 0.5 for r in history]
    assert [r["metrics"]["geometric_mean"] for r in history] == pytest.approx(scores)
    assert trained.facts["best_epoch"] == history[int(np.argmax(scores))]["epoch"]


def test_walks_count_where_training_draws_its_own(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    settings = {tables: train_again(tiny_run, tmp_path, walk_tables=tables) for tables in (0, 2)}
    losses = [
        json.loads(trained.file("history.json").read_text())[0]["loss"]
        for trained in settings.values()
    ]
    assert losses[0] != losses[1]
    assert settings[0].manifest.settings["walks"] == {}
    assert settings[2].manifest.settings["walks"]["walks"] == tiny_run.config.neighbourhoods.walks


def test_the_best_epochs_metrics_are_those_of_the_written_model(tiny_run: SimpleNamespace) -> None:
    embeddings = embed_trained(
        tiny_run.config,
        tiny_run.split.path,
        tiny_run.graph.path,
        tiny_run.table.path,
        tiny_run.train.path,
    )
    pairs = consecutive_pairs(tiny_run.split.file("valid.parquet"), equal_times="drop")
    scores = embeddings.astype(np.float64) @ embeddings.T
    ranks = []
    for query, positive in zip(pairs.query_row, pairs.positive_row, strict=True):
        others = np.delete(scores[query], [query, positive])
        above, equal = (others > scores[query, positive]), (others == scores[query, positive])
        ranks.append(1 + above.sum() + equal.sum() / 2)
    facts = tiny_run.train.facts
    assert facts["best_hit_rate_10"] == pytest.approx(np.mean(np.array(ranks) <= 10), abs=0.005)
    assert facts["best_mrr"] == pytest.approx(np.mean(1 / np.array(ranks)), rel=1e-2)


def test_ids_are_known_for_items_of_the_training_period_alone(tiny_run: SimpleNamespace) -> None:
    model = load_model(tiny_run.train.path / "model")
    degree = BipartiteGraph.open(tiny_run.graph.path).item_degree
    np.testing.assert_array_equal(model.encoder.known, degree > 0)


def test_training_again_with_more_checkpoints_changes_no_bit(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    again = train_again(tiny_run, tmp_path, checkpoint_steps=3)
    assert again.manifest.key == tiny_run.train.manifest.key
    name = "model/weights.safetensors"
    assert again.file(name).read_bytes() == tiny_run.train.file(name).read_bytes()


def interactions(path: Path, user: list[int], item: list[int], time: list[int]) -> None:
    table = pa.table(
        {
            "user_row": pa.array(user, pa.int32()),
            "item_row": pa.array(item, pa.int32()),
            "timestamp": pa.array(time, pa.int64()),
        }
    )
    pq.write_table(table, path)


def test_a_training_period_without_pairs_is_refused(tiny_config: Config, tmp_path: Path) -> None:
    interactions(tmp_path / "train.parquet", [0, 0, 1], [4, 4, 5], [1, 2, 3])
    with pytest.raises(TrainingError, match=r"training period has no .*interactions\.user_column"):
        training_pairs(tmp_path / "train.parquet", tiny_config.pairs, tiny_config.seed)


def test_a_validation_period_without_pairs_is_refused(
    tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    parts = tmp_path / "split"
    parts.mkdir()
    train = tiny_run.split.file("train.parquet")
    (parts / "train.parquet").write_bytes(train.read_bytes())
    (parts / "items.parquet").write_bytes(tiny_run.split.file("items.parquet").read_bytes())
    interactions(parts / "valid.parquet", [0, 1], [4, 5], [1, 2])
    with pytest.raises(TrainingError, match=r"validation period has no .*split\.valid_share"):
        write_trained(
            tiny_run.config,
            parts,
            tiny_run.graph.path,
            tiny_run.table.path,
            Workspace(tmp_path / "out", tmp_path / "scratch", "key"),
            None,
        )


def test_the_device_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [pick_device(name).type for name in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [pick_device(name).type for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(TrainingError, match=r"training\.device is cuda, and torch sees no GPU"):
        pick_device("cuda")
