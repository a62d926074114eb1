"""The gate on a run that was really trained and published, night after night."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pinsage import stages
from pinsage.config import Config, changed, parse_config
from pinsage.errors import ArtifactError
from pinsage.model.io import load_model
from pinsage.promotion.champion import at_rows_of, write_champion_ranks
from pinsage.promotion.comparison import read_champion, read_judged
from pinsage.promotion.evidence import Check, Stability
from pinsage.promotion.record import read_decision
from pinsage.promotion.stage import COMPARISON, read_comparison
from pinsage.store import MANIFEST, Artifact, Manifest, Store, inventory, read_manifest

if TYPE_CHECKING:
    from tests.conftest import RunStages

FINE = Check(passed=True, message="fine")


@pytest.fixture
def first(tiny_run: SimpleNamespace, tmp_path: Path) -> SimpleNamespace:
    """A copy of all that `tiny_run` left, with its `config` and a `store`."""
    root = tmp_path / "var"
    shutil.copytree(tiny_run.config.root, root)
    run = SimpleNamespace(**vars(tiny_run))
    run.config = parse_config({**tiny_run.config.model_dump(mode="json"), "root": str(root)})
    run.store = Store(root)
    return run


def ranked(run: SimpleNamespace, config: Config | None = None) -> Artifact:
    return stages.champion(
        config or run.config, run.store, run.split, run.graph, run.table, run.embed
    )


def compared(run: SimpleNamespace, champion: Artifact) -> Artifact:
    parts = (run.split, run.graph, run.train, run.evaluate)
    return stages.compare(run.config, run.store, *parts, champion)


def retrained(run: SimpleNamespace, run_stages: RunStages) -> SimpleNamespace:
    """Another training on the same data and neighbourhoods; published as well."""
    config = changed(run.config, {"training.learning_rate": 0.01})
    night = run_stages(config)
    night.config, night.store = config, run.store
    return night


def version_with(run: SimpleNamespace, **facts: Any) -> Path:
    """The published version, with other facts in its manifest."""
    path: Path = run.config.root / "published" / "tiny" / run.version.name
    old = read_manifest(path)
    (path / MANIFEST).write_text(
        Manifest(**{**vars(old), "facts": {**old.facts, **facts}}).to_json()
    )
    return path


def written(run: SimpleNamespace, version: Path | None, out: Path) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    folders = (run.graph.path, run.table.path)
    return write_champion_ranks(run.config, run.split, *folders, version, out)


class TestChampion:
    def test_first_night_has_none(self, first: SimpleNamespace) -> None:
        found = ranked(first)
        assert not found.facts["comparable"]
        assert "nothing else is published" in found.facts["reason"]

    def test_the_same_model_ranks_exactly_as_it_was_evaluated(
        self, first: SimpleNamespace, tmp_path: Path
    ) -> None:
        facts = written(first, version_with(first), tmp_path / "out")
        assert facts["comparable"]
        assert facts["seen_until"] == first.split.facts["seen_until"]
        judged = read_judged(first.evaluate.file("ranks.parquet"))
        ranks = read_champion(tmp_path / "out" / "ranks.parquet", judged)
        assert np.array_equal(ranks, judged.ranks["PinSage"])

    def test_the_night_after_it_is_the_version_before(
        self, first: SimpleNamespace, run_stages: RunStages
    ) -> None:
        night = retrained(first, run_stages)
        found = ranked(night)
        assert found.facts["version"] == first.version.name
        before = read_judged(first.evaluate.file("ranks.parquet")).ranks["PinSage"]
        assert pq.read_table(found.file("ranks.parquet"))["rank"].to_numpy().tolist() == (
            before.tolist()
        )
        assert ranked(night).reused

    @pytest.mark.parametrize(
        ("seen", "why"),
        [("", "does not say until when"), ("2030-01-01T00:00:00+00:00", "what it has seen")],
    )
    def test_one_that_may_have_seen_the_window_is_not_compared(
        self, first: SimpleNamespace, tmp_path: Path, seen: str, why: str
    ) -> None:
        facts = written(first, version_with(first, seen_until=seen), tmp_path / "out")
        assert not facts["comparable"]
        assert why in facts["reason"]

    def test_the_moment_the_test_begins_is_seen_and_the_one_before_is_not(
        self, first: SimpleNamespace, tmp_path: Path
    ) -> None:
        begins = first.split.facts["test_from"]
        facts = written(first, version_with(first, seen_until=begins), tmp_path / "out")
        assert not facts["comparable"]
        assert first.split.facts["seen_until"] < begins

    def test_features_that_are_gone_are_named(self, first: SimpleNamespace, tmp_path: Path) -> None:
        version = version_with(first)
        parts = tmp_path / "parts"
        shutil.copytree(first.split.path, parts)
        items = pq.read_table(parts / "items.parquet").drop_columns(["year"])
        pq.write_table(items, parts / "items.parquet")
        bare = Artifact(parts, first.split.manifest)
        facts = written(
            SimpleNamespace(**{**vars(first), "split": bare}), version, tmp_path / "out"
        )
        assert not facts["comparable"]
        assert "'year'" in facts["reason"]

    def test_another_text_encoder_is_no_comparison(
        self, first: SimpleNamespace, tmp_path: Path
    ) -> None:
        version = version_with(first)
        file = version / "model" / "features.json"
        tree = json.loads(file.read_text())
        tree["stats"]["title"] = {"encoder": "no-such-model", "weights": "0" * 32, "dim": 4}
        file.write_text(json.dumps(tree))
        old = read_manifest(version)
        whole = Manifest(**{**vars(old), "files": inventory(version)})
        (version / MANIFEST).write_text(whole.to_json())
        facts = written(first, version, tmp_path / "out")
        assert not facts["comparable"]

    def test_a_damaged_one_is_no_comparison(self, first: SimpleNamespace, tmp_path: Path) -> None:
        version = version_with(first)
        (version / "model" / "weights.safetensors").write_bytes(b"")
        facts = written(first, version, tmp_path / "out")
        assert "is damaged" in facts["reason"]


def test_id_vectors_follow_their_items(tiny_run: SimpleNamespace) -> None:
    model = load_model(tiny_run.train.path / "model")
    ids = tiny_run.config.data.items and [f"i{row}" for row in range(model.num_items)]
    assert ids
    assert model.encoder.ids is not None
    old, known = model.encoder.ids.weight.clone(), model.encoder.known.clone()
    assert at_rows_of(model, ids, ["new", "i5", "i3"]) == int(known[[5, 3]].sum())
    assert model.encoder.ids.weight[1:].tolist() == old[[5, 3]].tolist()
    assert not model.encoder.ids.weight[0].any()
    assert model.encoder.known.tolist() == [False, *known[[5, 3]].tolist()]


def test_ranks_of_other_pairs_are_refused(first: SimpleNamespace, tmp_path: Path) -> None:
    written(first, version_with(first), tmp_path / "out")
    judged = read_judged(first.evaluate.file("ranks.parquet"))
    file = tmp_path / "out" / "ranks.parquet"
    pq.write_table(pq.read_table(file).slice(1), file)
    with pytest.raises(ArtifactError, match="rank the champion on the split"):
        read_champion(file, judged)


class TestDecision:
    def test_first_night_goes_by_the_baseline(self, first: SimpleNamespace) -> None:
        result = stages.decide(
            first.config, first.store, compared(first, ranked(first)), contract=FINE, infra=FINE
        )
        decision = read_decision(result.path)
        assert decision.evidence.comparison.primary is None
        assert decision.evidence.comparison.baseline == "popularity"
        assert result.facts["verdict"] == decision.verdict == "promote"
        assert set(result.manifest.files) == {"decision.json", "decision.md"}

    def test_a_retrained_model_is_compared_pair_by_pair(
        self, first: SimpleNamespace, run_stages: RunStages
    ) -> None:
        night = retrained(first, run_stages)
        found = read_comparison(compared(night, ranked(night)).file(COMPARISON))
        assert found.champion == first.version.name
        assert not found.is_same_model
        assert found.primary
        assert found.primary.metric == "hit_rate_10"
        assert found.primary.old == first.evaluate.facts["test_hit_rate_10"]
        assert found.primary.new == night.evaluate.facts["test_hit_rate_10"]
        assert found.beside
        assert found.beside.new == pytest.approx(night.evaluate.facts["test_mrr"])
        assert {each.dimension for each in found.slices} <= {"all", "support", "group"}
        assert {each.label for each in found.slices} >= {"harbour", "mountain"}

    def test_force_and_checks_are_in_the_record(self, first: SimpleNamespace) -> None:
        comparison = compared(first, ranked(first))
        failing = Check(passed=False, message="the model does not load")
        made = [
            stages.decide(
                changed(first.config, {"gate.force": force}), first.store, comparison,
                contract=FINE, infra=failing, stability=Stability("v", 0.5, 0.9),
            )
            for force in (False, True)
        ]  # fmt: skip
        assert [each.facts["verdict"] for each in made] == ["refuse", "promote"]
        assert [each.facts["forced"] for each in made] == [False, True]
        assert all("the model does not load" in each.file("decision.md").read_text()
                   for each in made)  # fmt: skip
