"""An explanation over what a real version was made of, and what is missing when it is gone."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pinsage.errors import ArtifactError, ConfigError
from pinsage.explain.evidence import Evidence, find_source, load_evidence
from pinsage.explain.explanation import explain
from pinsage.retrieval.published import Published, load_published


@pytest.fixture
def version(tiny_run: SimpleNamespace, tmp_path: Path) -> Published:
    """The session's version in a root of its own, to be damaged."""
    shutil.copytree(tiny_run.config.root, tmp_path / "var", symlinks=True)
    return load_published(tmp_path / "var", "tiny")


def root_of(version: Published) -> Path:
    return version.path.parents[2]


def test_score_and_place_are_what_is_recommended(
    tiny_run: SimpleNamespace, evidence: Evidence
) -> None:
    published = load_published(tiny_run.config.root, "tiny")
    for row in (0, 21):
        for neighbour in published.related(row, 3):
            other = published.row_of(neighbour.item_id)
            found = explain(evidence, row, other)
            assert found.item.item_id == neighbour.item_id
            assert found.score.value == pytest.approx(neighbour.score, abs=1e-6)
            assert found.score.standing.forward.rank == neighbour.rank


def test_backward_is_forward_with_the_two_exchanged(evidence: Evidence) -> None:
    there, back = explain(evidence, 1, 25), explain(evidence, 25, 1)
    for one, other in (
        (there.score.standing, back.score.standing),
        (there.shared_contexts.standing, back.shared_contexts.standing),
        (there.walks, back.walks),
        (there.paths, back.paths),
    ):
        assert one.forward == other.backward
        assert one.backward == other.forward


def test_walks_with_the_recorded_settings_agree_with_the_stored_table(evidence: Evidence) -> None:
    for query in range(0, 40, 7):
        neighbours = evidence.table.neighbors[query]
        for place, item in enumerate(neighbours[neighbours >= 0].tolist(), start=1):
            seen = explain(evidence, query, item).walks.forward
            assert seen.place == place
            assert seen.weight == evidence.table.weights[query, place - 1]
            assert 0 < seen.visits <= seen.of


def test_users_of_both_are_those_of_the_interactions(
    tiny_run: SimpleNamespace, evidence: Evidence
) -> None:
    rows = evidence.graph
    both = set(rows.item_indices[rows.item_indptr[4] : rows.item_indptr[5]].tolist()) & set(
        rows.item_indices[rows.item_indptr[6] : rows.item_indptr[7]].tolist()
    )
    found = explain(evidence, 4, 6, contexts=1000).shared_contexts
    assert found.shared == len(both) == len({each.user_id for each in found.shown}) > 0


def test_content_is_what_the_configuration_names(evidence: Evidence) -> None:
    content = {each.column: each for each in explain(evidence, 0, 5).content}
    assert content["group"].shared == ("harbour",)
    assert content["tags"].shared == ("harbour", "t0")
    assert (content["year"].query, content["year"].item) == (1980, 1985)
    assert content["title"].shared == ("harbour", "tale")


def test_is_one_json_document_of_finite_numbers(evidence: Evidence) -> None:
    document = asdict(explain(evidence, 0, 30, contexts=2))
    assert json.loads(json.dumps(document, allow_nan=False)) is not None


def test_two_runs_are_the_same_to_the_bit(evidence: Evidence) -> None:
    assert explain(evidence, 0, 30) == explain(evidence, 0, 30)


def test_an_item_is_not_explained_by_itself(evidence: Evidence) -> None:
    with pytest.raises(ConfigError, match="QUERY and ITEM are both 'Harbour tale 3'"):
        explain(evidence, 3, 3)


@pytest.mark.parametrize("stage", ["ingest", "graph", "embed", "neighbourhoods"])
def test_a_removed_artifact_is_named_with_what_to_do(version: Published, stage: str) -> None:
    shutil.rmtree(root_of(version) / "stages" / stage)
    with pytest.raises(ArtifactError, match=f"stages/{stage}: no artifact .* `pinsage run`"):
        load_evidence(root_of(version), version)


def test_a_damaged_artifact_is_refused(version: Published) -> None:
    folder = find_source(root_of(version), version, "graph").path
    indices = np.load(folder / "item_indices.npy")
    np.save(folder / "item_indices.npy", indices[::-1])
    with pytest.raises(ArtifactError, match=r"item_indices\.npy: .* checksum"):
        load_evidence(root_of(version), version)


def test_an_artifact_that_was_made_again_under_another_key_is_found(version: Published) -> None:
    folder = find_source(root_of(version), version, "graph").path
    folder.rename(folder.with_name("0123456789abcdef"))
    (folder.with_name("a-damaged-one")).mkdir()
    (folder.with_name("a-damaged-one") / "manifest.json").write_text("{}")
    found = load_evidence(root_of(version), version)
    assert found.graph.num_items == 40


def test_the_graph_is_the_one_up_to_now_and_not_the_training_periods(
    tiny_run: SimpleNamespace, version: Published
) -> None:
    found = find_source(root_of(version), version, "graph")
    assert found.manifest.key == tiny_run.full_graph.manifest.key
    assert found.manifest.key != tiny_run.graph.manifest.key
