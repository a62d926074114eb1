"""Whether what is to be promoted loads and answers, as a reader would find it: in a fresh process.

What passed is an artifact, found again while the version, the packages and the code are the same;
what failed is asked again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from flows.registration import Registered, requirements
from pinsage.errors import PinSageError
from pinsage.model.io import load_spec
from pinsage.retrieval.publish import Version
from pinsage.retrieval.published import open_version
from pinsage.store import Artifact, Facts, Store, Workspace, read_manifest

TIMEOUT = 600.0  # seconds for loading the model and two answers
_HOME = Path(__file__).resolve().parents[1]
_LONGEST = 300  # characters of an error in a reason


class InfraError(PinSageError):
    """The packaged model did not load, or gave no answer; the message says which and why."""


def check(
    store: Store,
    version: Version,
    registered: Registered | None,
    tracking: str,
    ingested: Artifact,
    timeout: float = TIMEOUT,
) -> Artifact:
    """Ask the registered model, or the version itself where there is none, in a new process.

    `tracking` is MLflow's address, `ingested` has the features of the items. The artifact's facts
    are neighbours, dimension and seconds. Raises InfraError where it does not answer.
    """
    through = registered.address if registered else "the published version"

    def build(work: Workspace) -> Facts:
        question = {
            "uri": registered.address if registered else "",
            "tracking": tracking,
            "version": str(version.path.resolve()),
            **_one_item(version.path, ingested),
        }
        started = time.monotonic()
        found = ask(question, through, timeout)
        wanted = int(read_manifest(version.path).facts["dimension"])
        if found["dimension"] != wanted:
            raise InfraError(
                f"{through} gives embeddings of {found['dimension']} numbers, expected {wanted}"
            )
        facts = {**found, "seconds": round(time.monotonic() - started, 2)}
        (work.path / "infra.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
        return facts

    return store.stage(
        "infra",
        build,
        settings={
            "through": through,
            "python": sys.version.split()[0],
            "packages": requirements(),
        },
        inputs={"version": Artifact(version.path, read_manifest(version.path)).digest()},
        code=("flows.infra", "flows.infra_check", "flows.registered_model", "pinsage"),
    )


def ask(question: Mapping[str, Any], through: str, timeout: float) -> dict[str, Any]:
    """The answer of `infra_check` to a question. Raises InfraError where there is none."""
    paths = [str(_HOME), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(  # our own program; the question goes by stdin
            [sys.executable, "-m", "flows.infra_check"],
            input=json.dumps(question, default=str),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
    except subprocess.TimeoutExpired:
        raise InfraError(
            f"{through} gave no answer within {timeout:g} s in a fresh process"
        ) from None
    except OSError as error:
        raise InfraError(f"a fresh process for {through} could not start: {error}") from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InfraError(
            f"{through} does not load and answer in a fresh process: {lines[-1][:_LONGEST]}"
        )
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def _one_item(version: Path, ingested: Artifact) -> dict[str, Any]:
    """Id of an item of the version, and its features as JSON: the first that has any."""
    columns = list(load_spec(version / "model").content)
    items = pq.read_table(ingested.file("items.parquet")).to_pandas()
    known = [name for name in columns if name in items]
    described = items[known].notna().any(axis=1)
    row = int(described.to_numpy().argmax()) if len(described) else 0
    features = {name: _plain(items[name].iloc[row]) for name in known if described.any()}
    return {
        "item_id": _plain(open_version(version, verify=False).items["item_id"].iloc[0]),
        "features": {name: value for name, value in features.items() if value is not None},
    }


def _plain(value: Any) -> Any:
    """A cell as JSON has it; None where it is missing."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | str):
        return value
    return None if pd.isna(value) else value
