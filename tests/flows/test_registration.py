"""The registered model: once a published version, and the same neighbours in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

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
from pinsage.retrieval.published import open_version

ASK = """
import json, sys
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
asked = pd.DataFrame({"item_id": ["i3", "i30"]})
print(json.dumps(model.predict(asked, params={"k": 4}).to_dict("records")))
"""


def register(config: Config, run: SimpleNamespace) -> Registered:
    with connected(config) as tracker:
        tracker.begin("nightly", {})
        with tracker.stage("register") as child:
            assert child.run_id is not None
            return registration.register(tracker.link.client, config, run.version, child.run_id)


def ask_in_a_fresh_process(config: Config, uri: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ASK, uri],
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


@pytest.mark.parametrize(
    ("ids", "name"), [(np.array([1, 2]), "long"), (np.array(["a", "b"], dtype=object), "string")]
)
def test_the_signature_has_the_id_type_of_the_catalog(ids: np.ndarray, name: str) -> None:
    made = registration.signature(pd.Series(ids))
    assert made.inputs.to_dict() == [{"type": name, "name": "item_id", "required": True}]
    assert [column["name"] for column in made.outputs.to_dict()] == [
        "item_id",
        "rank",
        "neighbour_id",
        "title",
        "score",
    ]
    assert made.params.to_dict()[0]["default"] == 10


def test_requirements_are_pinned_to_what_is_installed() -> None:
    requirements = [Requirement(line) for line in registration.requirements()]
    assert {"mlflow", "numpy", "pyarrow"} <= {each.name for each in requirements}
    assert all(str(each.specifier).startswith("==") for each in requirements)
    assert "prefect" not in {each.name for each in requirements}
