"""Which published model a warm start begins with. Light: a stage's key needs it.

It is what readers follow. But once tonight's model is published, it is the champion itself, and the
same night run again would train on and on: where the champion was trained with the very settings
and inputs that are asked for, it is what is asked for, and the key is the one it was made under.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pinsage.errors import ArtifactError
from pinsage.retrieval.shelf import EMBEDDINGS, current_version, names, shelf
from pinsage.store import Artifact, Manifest, digest_of, read_manifest

INPUT = "champion"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Champion:
    """Where a warm start begins.

    Attributes:
        identity: digest of the model and of the items it knows; empty for a cold start
        path: the version's folder; None for a cold start, and where what is asked for is there
    """

    identity: str
    path: Path | None


def find_champion(
    root: Path, name: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str], code: str
) -> Champion:
    """The champion for a training with these settings, inputs and source code.

    Raises ArtifactError where what readers follow has a damaged manifest.
    """
    if name not in names(root):
        _log.info("cold start: nothing is published for %s yet", name)
        return Champion("", None)
    path = shelf(root, name) / current_version(root, name)
    version = read_manifest(path)
    trained = _trained(root, version)
    if trained is not None and _is_asked_for(trained, settings, inputs, code):
        return Champion(trained.inputs[INPUT], None)
    return Champion(Artifact(path, version).digest("model/", f"{EMBEDDINGS}/"), path)


def _trained(root: Path, version: Manifest) -> Manifest | None:
    """The manifest of the training that a version's model is of, while it is still there."""
    key = version.facts.get("artifacts", {}).get("model", "")
    try:
        return read_manifest(root / "stages" / "train" / key)
    except ArtifactError:
        return None


def _is_asked_for(
    trained: Manifest, settings: Mapping[str, Any], inputs: Mapping[str, str], code: str
) -> bool:
    others = {name: digest for name, digest in trained.inputs.items() if name != INPUT}
    return (
        INPUT in trained.inputs
        and trained.code == code
        and others == dict(inputs)
        and digest_of(trained.settings) == digest_of(settings)
    )
