"""What the pages of Prefect and MLflow show, held to what was seen in a browser."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import mlflow
import pytest

from flows import nights_view
from flows.nights_view import experiment_tags
from flows.results import decision_text
from flows.settings import mlflow_database
from flows.tracking import connected
from flows.trend import to_markdown
from pinsage.config import Config
from pinsage.report.figures.trend import NightPoint
from pinsage.store import Facts, Store, Workspace

WIDEST = 100  # characters of a row that Prefect's page shows beside its side bars at 1300 px


def test_a_new_experiment_has_the_view_of_its_nights_and_a_guide(tiny_config: Config) -> None:
    with connected(tiny_config) as tracker:
        tracker.begin("nightly", {"flow": "nightly"})
        tracker.parent.write(metrics={"test_mrr": 0.5}, tags={"gate.verdict": "promote"})
        with tracker.stage("train"):
            pass
    client = mlflow.MlflowClient(mlflow_database(tiny_config.root))
    experiment = client.get_experiment_by_name(tiny_config.name)
    assert experiment is not None
    assert "trend.png" in experiment.tags["mlflow.note.content"]
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{nights_view.KEY}"])
    kind, _, packed = view["state"].partition(";")
    state = json.loads(zlib.decompress(base64.b64decode(packed)))
    assert (view["name"], kind) == ("Nights", "deflate")
    assert "metrics.`test_hit_rate_10`" in state["selectedColumns"]
    [night] = client.search_runs([experiment.experiment_id], state["searchFilter"])
    assert night.data.tags["gate.verdict"] == "promote"  # and not the child


def test_the_tags_of_an_experiment_fit_mlflow(tiny_config: Config) -> None:
    assert max(map(len, experiment_tags(tiny_config).values())) < 5000


@pytest.mark.parametrize("verdict", ["promote", "refuse"])
def test_a_row_of_the_trend_fits_the_page(verdict: str) -> None:
    interval = (0.50137, 0.47631, 0.52981)
    metrics = {"hit_rate_100": interval, "mrr": interval}
    night = NightPoint(
        "1998-04-19", verdict, metrics, rows=99_151_000, items=1_682_000, overlap=0.6
    )
    rows = to_markdown([night]).splitlines()
    assert max(map(len, rows)) < WIDEST
    assert ".501 .476–.530" in rows[-1]


def test_an_answer_stands_in_place_of_the_question(tmp_path: Path) -> None:
    def write(work: Workspace) -> Facts:
        (work.path / "decision.md").write_text("**A person is asked.**\n\n- ✓ **contract**: kept\n")
        return {"verdict": "ask"}

    decided = Store(tmp_path).stage("decide", write, settings={}, inputs={}, code=["pinsage.store"])
    assert decision_text(decided, "ask", "") == decided.file("decision.md").read_text()
    said = decision_text(decided, "promote", "promoted by Ada: a\n**<img>** reason")
    first, _, rest = said.partition("\n")
    assert first == "**Decided since: promoted by Ada: a &#42;&#42;&lt;img&gt;&#42;&#42; reason.**"
    assert rest == "\n- ✓ **contract**: kept\n"
