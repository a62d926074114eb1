"""The view "Nights" of an experiment in MLflow, and the guide that stands above it.

MLflow keeps both as tags of the experiment, and offers the view to everybody in its list *Views*.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from pinsage.config import Config
from pinsage.evaluation.metrics import headline_metric

KEY = "nights"  # in the address of the view: ?viewStateShareKey=nights
_TAG = f"mlflow.sharedViewState.{KEY}"
_NAME = "Nights"
_NOTE = "mlflow.note.content"
_EPOCH = 0  # MLflow sorts views by when they were made


def experiment_tags(config: Config) -> dict[str, str]:
    """Tags for a new experiment: its view, and its description in Markdown."""
    view = {
        "name": _NAME,
        "createdAt": _EPOCH,
        "updatedAt": _EPOCH,
        "state": _packed(state(config)),
    }
    return {_TAG: json.dumps(view), _NOTE: guide()}


def state(config: Config) -> dict[str, Any]:
    """What the page of runs shows: nights alone, the newest first, what they are judged by."""
    decisive = headline_metric(config.evaluation.ks)
    columns = [
        "tags.`gate.verdict`",
        f"metrics.`test_{decisive}`",
        "metrics.`test_mrr`",
        "metrics.`gate.change`",
        "metrics.`gate.change_low`",
        "metrics.`overlap_10`",
        "tags.`trigger`",
    ]
    return {
        "searchFilter": "tags.flow = 'nightly'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
    }


def guide() -> str:
    """How runs of the experiment are compared."""
    return (
        f"**Views → {_NAME}** lists the nights with verdict and metrics. Choose two, *Compare*: "
        "settings (*Show diff only*), metrics, and at the bottom *Artifacts*, where the plots "
        "(`hit_rate.png`, `training.png` …), `decision.md` and `config.toml` of both stand side by "
        "side, with the same names and axes; open both runs for `report.html`. Numbers compare "
        "only where `data.version` is the same; against the champion of the night `gate.change` is "
        "the fair number. `figures/trend.png` of the newest night shows all. For curves by step, "
        "open two nights with + and compare their children `train`. Each run's description has the "
        "verdict with its reasons and all tables.\n"
    )


def _packed(tree: dict[str, Any]) -> str:
    # As MLflow's page packs it: a tag holds 5,000 characters.
    small = zlib.compress(json.dumps(tree).encode())
    return f"deflate;{base64.b64encode(small).decode()}"
