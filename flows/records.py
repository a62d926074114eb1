"""What MLflow is told about an artifact: parameters, metrics, tags, files. Pure, no MLflow here.

Invariant: everything returned is within MLflow's limits on names, lengths and types.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

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
