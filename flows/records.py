"""What MLflow is told about an artifact: parameters, metrics, tags, files. Pure, no MLflow here.

Invariant: everything returned is within MLflow's limits on names, lengths and types.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pinsage.store import Artifact

MAX_KEY = 250
MAX_PARAM = 6000
MAX_TAG = 8000
MAX_FILE_BYTES = 8 << 20

# Reports, plots and Data Docs; arrays, tables and weights stay in the store.
_READABLE = {".css", ".csv", ".html", ".ico", ".js", ".json", ".md", ".png", ".svg", ".txt"}
_NOT_IN_A_NAME = re.compile(r"[^\w\-. :/]")


def parameters(artifact: Artifact) -> dict[str, str]:
    """The settings an artifact was made with."""
    return flat_parameters(artifact.manifest.settings)


def flat_parameters(tree: Mapping[str, Any]) -> dict[str, str]:
    """Nested settings, flattened to `group.key`; those that are not set are left out."""
    return {
        _name(key): _cut(str(value), MAX_PARAM)
        for key, value in _flat(tree, "")
        if value is not None and value != ""
    }


def metrics(artifact: Artifact) -> dict[str, float]:
    """Every finite number among the facts, with seconds and peak memory."""
    manifest = artifact.manifest
    cost = {"seconds": manifest.seconds, "peak_mib": manifest.peak_mib}
    return {**numbers(artifact.facts), **cost}


def numbers(facts: Mapping[str, Any]) -> dict[str, float]:
    """Every finite number of a tree, by `group.key`."""
    return {
        _name(key): float(value)
        for key, value in _flat(facts, "")
        if isinstance(value, int | float) and math.isfinite(value)
    }


def drift(found: Artifact) -> dict[str, float]:
    """How far each measure of a drift stage is from the nights before, and how many are too far."""
    document = json.loads(found.file("drift.json").read_text(encoding="utf-8"))
    return {
        **{
            _name(f"drift.{each['group']}.{each['name']}".replace(" ", "_")): float(each["drift"])
            for each in document["measures"]
            if math.isfinite(each["drift"])
        },
        **{
            f"drift.{found.manifest.stage}.{verdict}": float(len(found.facts[verdict]))
            for verdict in ("warn", "block")
        },
    }


def gate(decided: Artifact, *, promoted: bool) -> dict[str, float]:
    """The numbers of a decision: the change against the champion, and what came of it."""
    known = {name: value for name, value in decided.facts.items() if name != "forced"}
    return {
        **{f"gate.{name}": value for name, value in numbers(known).items()},
        "gate.promoted": float(promoted),
        "gate.forced": float(bool(decided.facts["forced"])),
    }


def slices(evaluated: Artifact, method: str) -> dict[str, float]:
    """A method's metrics in every slice of the test period: `slice.support.cold.mrr`."""
    rows = pq.read_table(evaluated.file("results.parquet")).to_pylist()
    return {
        _name(f"slice.{row['dimension']}.{row['slice']}.{_metric(row)}"): float(row["value"])
        for row in rows
        if row["period"] == "test"
        and row["method"] == method
        and row["dimension"] != "all"
        and row["value"] is not None
        and math.isfinite(row["value"])
    }


def tags(artifact: Artifact) -> dict[str, str]:
    """What made the artifact, and whether this run had to."""
    manifest = artifact.manifest
    return {
        "reused": str(artifact.reused).lower(),
        "artifact.key": manifest.key,
        "artifact.path": _cut(str(artifact.path), MAX_TAG),
        "artifact.digest": artifact.digest(),
        "artifact.created": manifest.created,
        "code.digest": manifest.code,
        "code.version": manifest.version,
        **{_name(f"input.{name}"): digest for name, digest in manifest.inputs.items()},
    }


def readable_files(artifact: Artifact) -> Iterator[Path]:
    """Names, relative to the artifact, of the small files that a person would look at."""
    for name, entry in artifact.manifest.files.items():
        if Path(name).suffix in _READABLE and entry.bytes <= MAX_FILE_BYTES:
            yield Path(name)


def _metric(row: Mapping[str, Any]) -> str:
    return f"{row['metric']}_{row['k']}" if row["k"] else str(row["metric"])


def _flat(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _name(key: str) -> str:
    return _NOT_IN_A_NAME.sub("_", key.replace("@", "_at_"))[:MAX_KEY]


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
