"""What MLflow is told stays within MLflow's limits, whatever a stage found out."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flows import records
from pinsage.store import Artifact, FileEntry, Manifest

SIMPLE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), st.text(max_size=20)
)
TREES = st.dictionaries(
    st.text(min_size=1, max_size=300),
    st.one_of(SIMPLE, st.dictionaries(st.text(min_size=1, max_size=20), SIMPLE, max_size=3)),
    max_size=5,
)


def made(
    facts: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    files: dict[str, int] | None = None,
) -> Artifact:
    entries = {name: FileEntry(size, "0" * 32) for name, size in (files or {}).items()}
    manifest = Manifest(
        stage="graph",
        key="k1",
        version="1.2",
        created="2026-01-01",
        settings=settings or {},
        inputs={"edges": "d1"},
        code="c1",
        files=entries,
        facts=facts or {},
        seconds=1.5,
        peak_mib=20.0,
    )
    return Artifact(Path("stages/graph/k1"), manifest, reused=True)


def test_nested_settings_become_dotted_parameters_and_unset_ones_are_left_out() -> None:
    settings = {"size": 50, "deep": {"p": 0.5, "q": None}, "title": ""}
    assert records.parameters(made(settings=settings)) == {"size": "50", "deep.p": "0.5"}


def test_numbers_among_the_facts_become_metrics_beside_seconds_and_memory() -> None:
    facts = {"n": 3, "passed": True, "name": "x", "bad": math.nan, "by": {"reason a": 2}}
    assert records.metrics(made(facts=facts)) == {
        "n": 3.0,
        "passed": 1.0,
        "by.reason a": 2.0,
        "seconds": 1.5,
        "peak_mib": 20.0,
    }


def test_an_at_sign_is_spelled_out_because_mlflow_refuses_it() -> None:
    assert "hit_rate_at_10" in records.metrics(made(facts={"hit_rate@10": 0.5}))


def test_tags_say_what_made_the_artifact_and_whether_it_was_reused() -> None:
    tags = records.tags(made())
    assert tags["reused"] == "true"
    assert tags["artifact.key"] == "k1"
    assert tags["input.edges"] == "d1"
    assert tags["code.digest"] == "c1"


def test_only_small_files_that_people_read_are_kept() -> None:
    files = {"table.md": 10, "model/weights.safetensors": 10, "data_docs/index.html": 10}
    kept = records.readable_files(made(files={**files, "huge.json": records.MAX_FILE_BYTES + 1}))
    assert sorted(map(str, kept)) == ["data_docs/index.html", "table.md"]


@given(TREES)
def test_every_name_and_value_is_one_that_mlflow_takes(tree: dict[str, Any]) -> None:
    artifact = made(facts=tree, settings=tree)
    values = records.parameters(artifact)
    numbers = records.metrics(artifact)
    for name in [*values, *numbers]:
        assert re.fullmatch(r"[\w\-. :/]{1,250}", name)
    assert all(0 < len(value) <= records.MAX_PARAM for value in values.values())
    assert all(math.isfinite(number) for number in numbers.values())
