"""Nights beside each other: what is counted, remembered, told, and what stops a night."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage import stages
from pinsage.config import Config, DriftConfig, ItemsConfig, changed
from pinsage.drift.counting import embedding_numbers, feature_counts, interaction_numbers
from pinsage.drift.measures import Measure, of_embeddings, of_inputs
from pinsage.drift.night import NIGHTS, Night, read_nights, remember
from pinsage.drift.stage import enforce, night_of, to_markdown
from pinsage.errors import ArtifactError, ContractError
from pinsage.retrieval.versions import shelf
from pinsage.store import Artifact, Store

Rows = list[dict[str, str]]
HOUR = 3_600_000_000


def night(name: str, **numbers: float) -> Night:
    return Night(name, "2024-01-01", {"rows": 100.0, **numbers}, {}, {}, {})


def ingested(config: Config) -> Artifact:
    store = Store(config.root)
    return stages.ingest(config, store, stages.snapshot(config, store))


@pytest.fixture
def edit(tmp_path: Path) -> Callable[[Callable[[Rows], Rows]], None]:
    """`edit(change)` rewrites the interactions of the small data set."""

    def run(change: Callable[[Rows], Rows]) -> None:
        file = tmp_path / "data" / "interactions.csv"
        with file.open(newline="") as handle:
            rows = change(list(csv.DictReader(handle)))
        with file.open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    return run


def remembered(config: Config, count: int) -> Path:
    """Nights that were just like the data are now, under other names."""
    drift = stages.input_drift(config, Store(config.root), ingested(config))
    folder = shelf(config.root, config.name)
    for number in range(count):
        remember(folder, replace(night_of(drift), name=f"night {number}"))
    return folder


class TestCounting:
    def test_the_window_and_newcomers_by_hand(self, tmp_path: Path) -> None:
        table = pa.table(
            {
                "user_row": pa.array([0, 0, 1, 2, 0], pa.int32()),
                "item_row": pa.array([0, 1, 0, 2, 2], pa.int32()),
                "timestamp": pa.array([0, 0, HOUR, 26 * HOUR, 30 * HOUR], pa.int64()),
            }
        )
        pq.write_table(table, tmp_path / "interactions.parquet")
        found = interaction_numbers(tmp_path / "interactions.parquet", 4, 24)
        # After hour 6: user 2 took item 2, which is new, and user 0 took it as well.
        assert found == {
            "rows": 5, "users": 3, "items": 3, "items in the catalog": 4,
            "rows of the window": 2, "users of the window": 2, "items of the window": 1,
            "share of new users": 0.5, "share of new items": 1.0,
            "gini": pytest.approx((-3 * 0 - 1 * 1 + 1 * 2 + 3 * 2) / (4 * 5)),
            "share of the top 1 %": 0.4,
        }  # fmt: skip

    def test_features_between_deciles_and_by_value(self) -> None:
        items = pd.DataFrame(
            {"year": [*range(10), None], "kind": [*"aaaabbbccd", None], "tags": ["x|y"] * 11}
        )
        declared = ItemsConfig(
            path="i.csv",
            features={"year": "numerical", "kind": "categorical", "tags": "multicategorical"},
        )
        edges, counts, missing = feature_counts(items, declared, None)
        assert len(edges["year"]) == 9
        assert set(counts["year"].values()) == {1}
        assert counts["kind"] == {"a": 4, "b": 3, "c": 2, "d": 1}
        assert counts["tags"] == {"x": 11, "y": 11}
        assert missing == {"year": 1 / 11, "kind": 1 / 11, "tags": 0.0}
        before = Night("n", "", {}, {"year": [4.0]}, {"kind": {"a": 1, "z": 2}}, {})
        _, again, _ = feature_counts(items, declared, before)
        assert again["year"] == {"0": 5, "1": 5}  # 4 is not above the edge
        assert again["kind"] == {"a": 4, "z": 0, "(other)": 6}

    def test_embeddings_by_all_pairs(self, tmp_path: Path) -> None:
        matrix = np.random.default_rng(0).normal(1.0, 1.0, (200, 8)).astype(np.float32)
        np.save(tmp_path / "embeddings.npy", matrix)
        found = embedding_numbers(tmp_path / "embeddings.npy", 1)
        lengths = np.linalg.norm(matrix, axis=1)
        cosines = (matrix @ matrix.T) / np.outer(lengths, lengths)
        off = cosines[~np.eye(200, dtype=bool)]
        assert found["mean length"] == pytest.approx(lengths.mean(), abs=0.03)
        assert found["mean cosine"] == pytest.approx(off.mean(), abs=0.01)


class TestMeasures:
    POLICY = DriftConfig(least_nights=2, volume=0.5)

    @pytest.mark.parametrize(
        ("rows", "verdict"), [(50, "ok"), (49, "block"), (150, "ok"), (151, "block"), (0, "block")]
    )
    def test_a_volume_against_the_median(self, rows: float, verdict: str) -> None:
        before = [night("a", rows=100), night("b", rows=100), night("c", rows=9000)]
        (measure,) = of_inputs(night("d", rows=rows), {}, before, self.POLICY)
        assert (measure.reference, measure.verdict) == (100, verdict)

    def test_too_few_nights_say_nothing(self) -> None:
        assert of_inputs(night("b", rows=1), {}, [night("a")], self.POLICY) == []
        assert of_inputs(night("b"), {}, [], self.POLICY) == []

    def test_a_feature_is_told_and_blocks_where_the_policy_says(self) -> None:
        before = Night("a", "", {}, {}, {"kind": {"x": 90, "y": 10}}, {"kind": 0.0})
        tonight = replace(before, name="b", missing={"kind": 0.2})
        counts = {"kind": {"x": 10, "y": 90}}
        found = of_inputs(tonight, counts, [before], self.POLICY)
        assert [(m.name, m.verdict) for m in found] == [
            ("PSI of kind", "warn"), ("missing share of kind", "warn")
        ]  # fmt: skip
        blocking = self.POLICY.model_copy(update={"block": ("features",)})
        assert {m.verdict for m in of_inputs(tonight, counts, [before], blocking)} == {"block"}

    def test_embeddings_that_fall_into_one_corner(self) -> None:
        shape = {"mean length": 1.0, "mean cosine": 0.02}
        before = [night("a", **shape), night("b", **shape)]
        fallen = night("c", **{**shape, "mean cosine": 0.9})
        found = of_embeddings(fallen, before, self.POLICY)
        assert [(m.name, m.verdict) for m in found] == [
            ("mean length", "ok"), ("mean cosine", "warn")
        ]  # fmt: skip


class TestNights:
    def test_the_same_night_is_one_line_in_its_place(self, tmp_path: Path) -> None:
        for each in (night("a"), night("b"), night("a", rows=7)):
            remember(tmp_path, each)
        assert [(n.name, n.numbers["rows"]) for n in read_nights(tmp_path)] == [
            ("a", 7), ("b", 100)
        ]  # fmt: skip

    def test_a_damaged_line_is_named(self, tmp_path: Path) -> None:
        (tmp_path / NIGHTS).write_text('{"name": "a"}\n')
        with pytest.raises(ArtifactError, match=r"nights\.jsonl: cannot be read"):
            read_nights(tmp_path)
        assert read_nights(tmp_path / "nowhere") == []


class TestStages:
    def test_a_first_night_says_that_there_is_nothing_to_compare_with(
        self, tiny_config: Config
    ) -> None:
        found = stages.input_drift(tiny_config, Store(tiny_config.root), ingested(tiny_config))
        assert found.facts == {"num_nights": 0, "num_measures": 0, "warn": [], "block": []}
        assert "Nothing to compare with" in found.file("drift.md").read_text()
        enforce(found, tiny_config.gate.drift)

    def test_a_night_like_the_others_is_ok_and_is_not_compared_with_itself(
        self, tiny_config: Config
    ) -> None:
        folder = remembered(tiny_config, 3)
        store, data = Store(tiny_config.root), ingested(tiny_config)
        found = stages.input_drift(tiny_config, store, data)
        assert found.facts["warn"] == found.facts["block"] == []
        assert found.facts["num_measures"] == 7 + 2 + 2 + 3 + 4
        enforce(found, tiny_config.gate.drift)
        remember(folder, night_of(found))
        assert stages.input_drift(tiny_config, store, data).reused

    def test_half_the_data_gone_stops_the_night_and_an_override_is_logged(
        self,
        tiny_config: Config,
        edit: Callable[[Callable[[Rows], Rows]], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        remembered(tiny_config, 3)
        edit(lambda rows: rows[: len(rows) * 2 // 5])
        found = stages.input_drift(tiny_config, Store(tiny_config.root), ingested(tiny_config))
        with pytest.raises(ContractError) as raised:
            enforce(found, tiny_config.gate.drift)
        message = str(raised.value)
        assert "rows: found 720, expected about 1,800 (drift -0.6, at most 0.5)" in message
        assert "gate.drift.override=true" in message
        policy = changed(tiny_config, {"gate.drift.override": True})
        with caplog.at_level(logging.WARNING):
            enforce(found, policy.gate.drift)
        assert "gone on in spite of" in caplog.text
        again = stages.input_drift(policy, Store(tiny_config.root), ingested(tiny_config))
        assert again.reused

    def test_embeddings_join_the_nights_record(
        self, tiny_run: SimpleNamespace, tmp_path: Path
    ) -> None:
        shutil.copytree(tiny_run.config.root, tmp_path / "var")
        config = tiny_run.config.model_copy(update={"root": tmp_path / "var"})
        store = Store(config.root)
        inputs = stages.input_drift(config, store, tiny_run.ingest)
        vectors = stages.embedding_drift(config, store, tiny_run.ingest, tiny_run.embed)
        whole = night_of(inputs, vectors)
        assert whole.numbers["mean length"] == pytest.approx(1.0, abs=1e-5)
        assert whole.numbers["rows"] == tiny_run.ingest.facts["num_interactions"]
        assert json.loads(json.dumps(whole.to_json())) == whole.to_json()

    def test_a_feature_name_cannot_write_into_the_table(self) -> None:
        evil = Measure("features", "PSI of <b>|", 0.0, 1.0, 1.0, 0.25, "warn")
        assert "<b>" not in to_markdown([evil], 1)
