"""The registered model: once a published version, and the same neighbours in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

from flows import registration
from flows.registration import CHALLENGER, CHAMPION, Registered
from flows.settings import mlflow_database
from flows.tracking import connected
from pinsage.config import Config
from pinsage.errors import ConfigError, PinSageError, SourceError, UnknownItemError
from pinsage.inference.newcomers import embed_by_content
from pinsage.model.io import load_model
from pinsage.retrieval.published import open_version

ASK = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
asked = pd.DataFrame({"item_id": ["i3", "i30"]})
print(json.dumps(model.predict(asked, params={"k": 4}).to_dict("records")))
"""
# By id, by features under an unknown id, by features without one; then features alone.
ASK_NEW = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
mixed = pd.DataFrame({
    "item_id": ["i3", "n1", None],
    "title": ["ignored", "Harbour tale 7", "Mountain tale 33"],
    "year": [None, 1987, 2013],
    "tags": [None, "harbour|t2", "mountain|t3"],
})
alone = pd.DataFrame({"group": ["harbour"], "year": [1999], "tags": [["t3", "harbour"]]})
answers = [
    model.predict(mixed, params={"k": 4}).to_dict("records"),
    model.predict(mixed, params={"output": "embeddings"}).to_dict("records"),
    model.predict(alone, params={"output": "embeddings"}).to_dict("records"),
]
print(json.dumps(answers))
"""


def register(config: Config, run: SimpleNamespace) -> Registered:
    with connected(config) as tracker:
        tracker.begin("nightly", {})
        with tracker.stage("register") as child:
            assert child.run_id is not None
            return registration.register(tracker.link.client, config, run.version, child.run_id)


def ask_in_a_fresh_process(
    config: Config, uri: str, code: str = ASK
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, uri],
        capture_output=True,
        text=True,
        check=False,
        cwd=config.root,  # not the checkout: the package must be found where it is installed
        env={"MLFLOW_TRACKING_URI": mlflow_database(config.root), "DO_NOT_TRACK": "true"},
    )


def test_a_version_is_registered_once_and_answers_alike_in_a_fresh_process(
    tiny_config: Config, tiny_run: SimpleNamespace
) -> None:
    first = register(tiny_config, tiny_run)
    again = register(tiny_config, tiny_run)
    assert (first.name, first.version, first.reused) == ("pinsage-tiny", "1", False)
    assert (again.version, again.reused) == ("1", True)

    client = mlflow.MlflowClient(mlflow_database(tiny_config.root))
    [made] = client.search_model_versions("name = 'pinsage-tiny'")
    assert made.tags["published"] == tiny_run.version.name
    reached = f"MRR {tiny_run.evaluate.facts['test_mrr']:.4f} (best baseline "
    assert tiny_run.version.name in str(made.description)
    assert reached in str(made.description)
    assert "`champion`" in client.get_registered_model("pinsage-tiny").description
    for alias in (CHALLENGER, CHAMPION):
        assert client.get_model_version_by_alias("pinsage-tiny", alias).version == made.version

    published = open_version(tiny_run.version.path)
    expected = [
        (item, each.rank, each.item_id, each.title, pytest.approx(each.score))
        for item in ("i3", "i30")
        for each in published.related(published.row_of(item), 4)
    ]
    answer = ask_in_a_fresh_process(tiny_config, first.uri)
    assert answer.returncode == 0, answer.stderr
    assert [tuple(row.values()) for row in json.loads(answer.stdout.splitlines()[-1])] == expected


def test_new_items_are_embedded_by_their_features_in_a_fresh_process(
    tiny_config: Config, tiny_run: SimpleNamespace
) -> None:
    answer = ask_in_a_fresh_process(tiny_config, register(tiny_config, tiny_run).uri, ASK_NEW)
    assert answer.returncode == 0, answer.stderr
    related, embedded, alone = json.loads(answer.stdout.splitlines()[-1])

    published = open_version(tiny_run.version.path)
    model = load_model(tiny_run.version.path / "model")
    new = pd.DataFrame(
        {
            "title": ["Harbour tale 7", "Mountain tale 33", None],
            "group": [None, None, "harbour"],
            "year": [1987, 2013, 1999],
            "tags": ["harbour|t2", "mountain|t3", "harbour|t3"],
        }
    )
    by_content = embed_by_content(model, new)
    vectors = [published.vectors[published.row_of("i3")], *by_content[:2]]
    assert [row["item_id"] for row in embedded[:2]] == ["i3", "n1"]
    assert pd.isna(embedded[2]["item_id"])
    for row, vector in zip([*embedded, *alone], [*vectors, by_content[2]], strict=True):
        assert row["embedding"] == pytest.approx(vector.tolist(), abs=1e-6)
    assert [(row["rank"], row["neighbour_id"]) for row in related] == [
        (each.rank, each.item_id)
        for row, vector in zip((published.row_of("i3"), -1, -1), vectors, strict=True)
        for each in published.nearest(vector, 4, exclude=row)
    ]


@pytest.mark.parametrize(
    ("asked", "params", "error", "message"),
    [
        ({"item_id": ["i3", "i99"]}, {}, UnknownItemError, "'i99': no such item in version"),
        ({"item_id": ["i99"], "year": [None]}, {}, UnknownItemError, "'i99': no such item"),
        ({"item_id": [None], "year": [None]}, {}, SourceError, "neither an item_id nor a feature"),
        ({"tags": [{"a": 1}]}, {}, SourceError, "column 'tags'"),
        ({"tags": ["a", ["b"]]}, {}, SourceError, "column tags.*values of one type"),
        ({"item_id": ["i3"]}, {"output": "all"}, ConfigError, "'all'; expected neighbours or emb"),
    ],
)
def test_what_cannot_be_answered_is_refused(
    tiny_run: SimpleNamespace,
    asked: dict[str, Any],
    params: dict[str, Any],
    error: type[PinSageError],
    message: str,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of type hints in mlflow.pyfunc itself
        from flows.registered_model import RelatedItems
    model = RelatedItems()
    context: Any = SimpleNamespace(artifacts={"version": str(tiny_run.version.path)})
    model.load_context(context)
    with pytest.raises(error, match=message):
        model.predict(context, pd.DataFrame(asked), params)


@pytest.mark.parametrize(
    ("ids", "name"), [(np.array([1, 2]), "long"), (np.array(["a", "b"], dtype=object), "string")]
)
def test_the_signature_has_the_id_type_of_the_catalog(ids: np.ndarray, name: str) -> None:
    made = registration.signature(pd.Series(ids), {"title": "text", "year": "numerical"})
    assert made.inputs.to_dict() == [
        {"type": name, "name": "item_id", "required": False},
        {"type": "string", "name": "title", "required": False},
        {"type": "any", "name": "year", "required": False},
    ]
    assert [column["name"] for column in made.outputs.to_dict()] == [
        "item_id",
        "rank",
        "neighbour_id",
        "title",
        "score",
        "embedding",
    ]
    defaults = {each["name"]: each["default"] for each in made.params.to_dict()}
    assert defaults == {"k": 10, "output": "neighbours"}


def test_requirements_are_pinned_to_what_is_installed() -> None:
    requirements = [Requirement(line) for line in registration.requirements()]
    assert {"mlflow", "numpy", "pyarrow"} <= {each.name for each in requirements}
    assert all(str(each.specifier).startswith("==") for each in requirements)
    assert "prefect" not in {each.name for each in requirements}
