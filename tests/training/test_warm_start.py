"""A warm start: last night's weights, by item id and by value, on tonight's catalog."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pinsage import stages
from pinsage.config import Config, ModelConfig, TrainingConfig, parse_config
from pinsage.errors import ArtifactError
from pinsage.model.features import FeatureSpec
from pinsage.model.io import load_model, save_model
from pinsage.model.pinsage import PinSage
from pinsage.store import MANIFEST, Manifest, Store, inventory
from pinsage.training.checkpoint import Checkpoints
from pinsage.training.loader import PairLoader
from pinsage.training.loop import Metrics, Trainer
from pinsage.training.warm import start_warm

if TYPE_CHECKING:
    from tests.conftest import MakeConfig, RunStages

KINDS: dict[str, Any] = {
    "colour": "categorical", "brand": "categorical", "tags": "multicategorical", "title": "text",
    "price": "numerical",
}  # fmt: skip
YESTERDAY = pd.DataFrame(
    {
        "item_id": ["a", "b", "c", "d"],
        "colour": ["red", "green", "red", "blue"],
        "brand": ["x", "x", "z", "z"],
        "tags": ["new|old", "old", "worn", None],
        "title": ["one", "two", "three", "four"],
        "price": [1.0, 2.0, 3.0, 4.0],
    }
)
# Without a and so without "new"; e and f are new, and so are azure, w and "big"; rows have moved.
TODAY = pd.DataFrame(
    {
        "item_id": ["e", "d", "c", "b", "f"],
        "colour": ["azure", "blue", "red", "green", "red"],
        "brand": ["w", "z", "z", "x", "x"],
        "tags": ["big|old", None, "worn", "old", "big"],
        "title": ["five", "four", "three", "two", "six"],
        "price": [50.0, 4.0, 3.0, 2.0, 60.0],
    }
)


def model_of(items: pd.DataFrame, seed: int, **changes: Any) -> PinSage:
    config = ModelConfig(**{"hidden": 6, "output": 4, "feature_channels": 3, **changes})
    kinds = {name: kind for name, kind in KINDS.items() if name in items}
    degree = np.arange(1, len(items) + 1)
    spec = FeatureSpec.fit(items, degree, kinds, separator="|", text_buckets=config.text_buckets)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PinSage(config, spec, len(items))


def publish(model: PinSage, items: pd.DataFrame, path: Path) -> Path:
    """A version as far as a warm start reads one; it embeds an item that the model has no row of"""
    save_model(model, path / "model")
    (path / "embeddings").mkdir()
    ids = pa.table({"item_id": [*items["item_id"], "e"]})
    pq.write_table(ids, path / "embeddings" / "part-00000.parquet")
    made = Manifest("publish", "key", "0", "now", {}, {}, "code", inventory(path))
    (path / MANIFEST).write_text(made.to_json())
    return path


@pytest.fixture
def champion(tmp_path: Path) -> Path:
    return publish(model_of(YESTERDAY, seed=1), YESTERDAY, tmp_path / "version")


def vectors(model: PinSage, column: str) -> dict[str, list[float]]:
    """What the encoder makes of each value of a column, through pytorch-frame's own look-up."""
    kind, values = KINDS[column], model.spec.stats[column]["vocabulary"]
    cells = pd.DataFrame({name: [None] * len(values) for name in KINDS} | {column: values})
    encoded, names = model.encoder.columns(model.spec.transform(cells, np.ones(len(values), int)))
    assert kind in ("categorical", "multicategorical")
    return dict(zip(values, encoded[:, names.index(column)].tolist(), strict=True))


def ids_of(model: PinSage) -> torch.Tensor:
    assert model.encoder.ids is not None
    return model.encoder.ids.weight.detach()


def test_id_vectors_follow_ids_and_new_items_keep_fresh_ones(champion: Path) -> None:
    old, fresh, model = load_model(champion / "model"), *(model_of(TODAY, 2) for _ in range(2))
    assert start_warm(model, list(TODAY["item_id"]), champion) == 3
    expected = [ids_of(fresh)[0], *ids_of(old)[[3, 2, 1]], ids_of(fresh)[4]]
    assert torch.equal(ids_of(model), torch.stack(expected))


def test_an_id_vector_that_was_never_trained_is_not_taken(tmp_path: Path) -> None:
    old = model_of(YESTERDAY, seed=1)
    old.encoder.known[1] = False  # b had no training context
    fresh, model = (model_of(TODAY, 2) for _ in range(2))
    version = publish(old, YESTERDAY, tmp_path / "version")
    assert start_warm(model, list(TODAY["item_id"]), version) == 2
    assert torch.equal(ids_of(model)[3], ids_of(fresh)[3])


@pytest.mark.parametrize("column", ["colour", "brand", "tags"])
def test_vectors_of_values_follow_the_values(champion: Path, column: str) -> None:
    old, fresh, model = load_model(champion / "model"), *(model_of(TODAY, 2) for _ in range(2))
    start_warm(model, list(TODAY["item_id"]), champion)
    was, is_, new = (vectors(each, column) for each in (old, model, fresh))
    kept = was.keys() & is_.keys()
    assert len(kept) >= 2
    assert len(is_.keys() - was.keys()) == 1
    assert is_ == {value: (was if value in kept else new)[value] for value in is_}


def test_the_other_weights_are_the_champions_and_the_statistics_tonights(champion: Path) -> None:
    old, fresh, model = load_model(champion / "model"), *(model_of(TODAY, 2) for _ in range(2))
    start_warm(model, list(TODAY["item_id"]), champion)
    by_row = ("ids.weight", "categorical.emb.weight", "multicategorical.embs.0.weight")
    weights = dict(old.named_parameters())
    for name, value in model.named_parameters():
        if not name.endswith(by_row):
            assert torch.equal(value, weights[name]), name
    for name, buffer in fresh.named_buffers():
        assert torch.equal(dict(model.named_buffers())[name], buffer), name


def test_item_ids_of_another_type_are_other_items(champion: Path) -> None:
    assert start_warm(model_of(TODAY, 2), [1, 2, 3, 4, 5], champion) == 0


@pytest.mark.parametrize(
    ("items", "changes", "named"),
    [
        (TODAY, {"hidden": 8}, "model.hidden: 6 there, 8 now"),
        (TODAY, {"layers": 1}, "model.layers: 2 there, 1 now"),
        (TODAY, {"id_embedding": False}, "model.id_embedding: True there, False now"),
        (TODAY, {"text_buckets": 64}, "model.text_buckets: 4096 there, 64 now"),
        (TODAY.drop(columns="price"), {}, "feature 'price': numerical there, nothing now"),
    ],
)
def test_another_architecture_starts_cold_and_says_why(
    champion: Path,
    caplog: pytest.LogCaptureFixture,
    items: pd.DataFrame,
    changes: dict[str, Any],
    named: str,
) -> None:
    model, fresh = (model_of(items, 2, **changes) for _ in range(2))
    assert start_warm(model, list(items["item_id"]), champion) is None
    assert f"cold start: version version has another architecture ({named})" in caplog.text
    for name, value in fresh.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


def test_another_dropout_is_no_other_architecture(champion: Path) -> None:
    assert start_warm(model_of(TODAY, 2, id_dropout=0.9), list(TODAY["item_id"]), champion) == 3


def test_a_damaged_champion_is_named(champion: Path) -> None:
    (champion / "model" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        start_warm(model_of(TODAY, 2), list(TODAY["item_id"]), champion)


class TestEpochs:
    @pytest.fixture
    def fit(
        self,
        tmp_path: Path,
        make_model: Callable[..., PinSage],
        make_loader: Callable[..., PairLoader],
    ) -> Callable[[Iterable[float]], Trainer]:
        """`fit(scores)` trains warm with these validation scores, the first of epoch 0."""

        def run(scores: Iterable[float]) -> Trainer:
            script = iter(scores)

            def validate(_: PinSage) -> Metrics:
                return {"mrr": next(script)}

            trainer = Trainer(
                make_model(),
                make_loader(),
                validate,
                score="mrr",
                config=TrainingConfig(epochs=9, patience=2),
                seed=5,
                checkpoints=Checkpoints(tmp_path / "run"),
                is_warm=True,
            )
            trainer.fit()
            return trainer

        return run

    def test_where_none_is_better_the_first_weights_are_kept(
        self, fit: Callable[[Iterable[float]], Trainer], make_model: Callable[..., PinSage]
    ) -> None:
        trainer = fit([0.5, 0.4, 0.5])
        assert [report.epoch for report in trainer.progress.history] == [0, 1, 2]
        assert trainer.progress.history[0].loss is None
        for name, value in make_model().state_dict().items():
            assert torch.equal(trainer.model.state_dict()[name], value)

    def test_epochs_go_on_as_long_as_they_are_better(
        self, fit: Callable[[Iterable[float]], Trainer]
    ) -> None:
        progress = fit([0.5, 0.6, 0.4, 0.7, 0.7, 0.7]).progress
        assert [report.epoch for report in progress.history] == [0, 1, 2, 3, 4, 5]
        assert progress.best is not None
        assert progress.best.epoch == 3

    def test_epoch_0_is_not_measured_again_after_a_resume(
        self, fit: Callable[[Iterable[float]], Trainer]
    ) -> None:
        with pytest.raises(StopIteration):
            fit([0.5])
        assert [r.metrics["mrr"] for r in fit([0.4, 0.3]).progress.history] == [0.5, 0.4, 0.3]


@pytest.fixture(scope="module")
def night(
    tmp_path_factory: pytest.TempPathFactory, make_tiny_config: MakeConfig, run_stages: RunStages
) -> SimpleNamespace:
    """A night that was trained cold until it got no better, and published."""
    folder = tmp_path_factory.mktemp("night")
    training = {"epochs": 9, "patience": 1, "learning_rate": 0.01}
    config = make_tiny_config(folder, training=training)
    run = run_stages(config)
    run.config = config
    return run


@pytest.fixture
def train_warm(night: SimpleNamespace, tmp_path: Path) -> Callable[..., Any]:
    """`train_warm(**groups)` trains over the night's data again, from its champion."""
    root = tmp_path / "var"
    shutil.copytree(night.config.root, root)

    def run(**groups: dict[str, Any]) -> Any:
        tree = night.config.model_dump(mode="json")
        tree["training"]["warm_start"] = True
        for name, values in groups.items():
            tree[name] = {**tree[name], **values}
        config = parse_config({**tree, "root": str(root)})
        return stages.train(config, Store(root), night.split, night.graph, night.table)

    return run


def test_on_unchanged_data_it_begins_at_the_champions_score_and_needs_fewer_epochs(
    night: SimpleNamespace, train_warm: Callable[..., Any]
) -> None:
    warm = train_warm()
    history = json.loads(warm.file("history.json").read_text())
    best = {name.removeprefix("best_"): v for name, v in night.train.facts.items()}
    assert history[0]["epoch"] == 0
    assert history[0]["metrics"] == {name: best[name] for name in history[0]["metrics"]}
    assert warm.facts["epochs"] < night.train.facts["epochs"]
    assert warm.facts["best_hit_rate_10"] >= night.train.facts["best_hit_rate_10"]
    assert warm.facts["warm_items"] == 40


@pytest.mark.distributed
def test_several_processes_begin_with_the_champion_as_well(
    night: SimpleNamespace, train_warm: Callable[..., Any]
) -> None:
    warm = train_warm(training={"processes": 2, "warm_start": True, "epochs": 1})
    history = json.loads(warm.file("history.json").read_text())
    assert [epoch["epoch"] for epoch in history] == [0, 1]
    assert history[0]["metrics"]["mrr"] == night.train.facts["best_mrr"]
    assert warm.facts["warm_items"] == 40


def test_another_architecture_trains_cold(
    train_warm: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    cold = train_warm(model={"hidden": 12})
    assert "model.hidden: 16 there, 12 now" in caplog.text
    assert "warm_items" not in cold.facts
    assert json.loads(cold.file("history.json").read_text())[0]["epoch"] == 1


def test_without_a_champion_it_trains_cold(
    train_warm: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(tmp_path / "var" / "published")
    with caplog.at_level(logging.INFO):
        cold = train_warm()
    assert "cold start: nothing is published for tiny yet" in caplog.text
    assert cold.manifest.inputs["champion"] == ""


def next_night(night: SimpleNamespace, root: Path, **training: Any) -> Config:
    """A warm start below `root`, over a catalog in another order, without i3 and with i99."""
    tree = night.config.model_dump(mode="json")
    for name in ("items", "interactions"):
        source = Path(tree["data"][name]["path"])
        rows = pd.read_csv(source, dtype=str)
        other = rows[rows["item_id"] == "i4"].assign(item_id="i99")
        edited = pd.concat([other, rows[rows["item_id"] != "i3"][::-1]])
        edited.to_csv(root / source.name, index=False)
        tree["data"][name]["path"] = str(root / source.name)
    tree["training"] |= {"warm_start": True, **training}
    return parse_config({**tree, "root": str(root)})


def test_a_changed_catalog_starts_warm_and_the_same_night_again_trains_nothing(
    night: SimpleNamespace, tmp_path: Path, run_stages: RunStages
) -> None:
    root = tmp_path / "var"
    shutil.copytree(night.config.root, root)
    first, second = (run_stages(next_night(night, root)) for _ in range(2))
    assert first.train.facts["warm_items"] == 39  # 40 and i99, without i3
    assert len(first.train.manifest.inputs["champion"]) == 32
    assert first.version.name != night.version.name
    assert second.train.reused
    assert second.version.name == first.version.name
    # Anything else begins with the new champion.
    third = run_stages(next_night(night, root, learning_rate=0.02))
    assert third.train.facts["warm_items"] == 40
    assert third.train.manifest.inputs["champion"] != first.train.manifest.inputs["champion"]
    start, best = json.loads(third.train.file("history.json").read_text())[0], first.train.facts
    assert start["metrics"]["mrr"] == best["best_mrr"]
