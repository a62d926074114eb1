"""A version beside the last published one: how stable it is, and how it is brought near it.

`beside` writes R into the version and leaves the vectors alone. `applied` turns the vectors and, by
the same R, all that makes or uses such vectors: G2 of the model's head becomes Rᵀ G2, which new
items are embedded by, and a query map M becomes Rᵀ M R, for which (M z)·z' stays what it was. The
index is built of the turned vectors. Whatever reads the version is in the same space thereby.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pinsage.errors import ArtifactError
from pinsage.model.query import WEIGHT, WEIGHTS
from pinsage.retrieval.align import (
    Matrix,
    Rotation,
    Side,
    find_rotation,
    rotate,
    shared_rows,
    stability,
)
from pinsage.retrieval.align import why_not as why_not_alignable
from pinsage.retrieval.published import Published

FILE = "alignment.npy"
HEAD = "head_output.weight"  # G2, the module of `PinSage`

Mode = Literal["off", "beside", "applied"]


@dataclass(frozen=True)
class Alignment:
    """What was found: R, None where nothing is to be aligned, and what the manifest says."""

    rotation: Rotation | None
    facts: dict[str, Any]


def compare(
    item_ids: list[Any], new: Side, last: Published | None, mode: Mode, seed: int
) -> Alignment:
    """Measure embeddings against the last published version, and find R unless it is `off`.

    A version published for the first time, or one that cannot be aligned, says why not.
    """
    if last is None:
        return Alignment(None, {"alignment": {"mode": mode, "why_not": "nothing to align with"}})
    rows = shared_rows(item_ids, last.items["item_id"].tolist())
    reason = why_not_alignable(new.vectors, last.vectors, len(rows[0]))
    rotation = None if reason else find_rotation(new.vectors, last.vectors, rows)
    measured = stability(new, Side(last.vectors, last.query), rows, rotation, seed)
    about = {"mode": mode, "against": last.version, **({"why_not": reason} if reason else {})}
    facts = {
        "alignment": about,
        "stability": {"against": last.version, **measured.facts()},
    }
    return Alignment(None if mode == "off" else rotation, facts)


def write_rotation(rotation: Rotation, folder: Path) -> None:
    """R, float64 [d, d]: rows of vectors times R are comparable with the version before."""
    np.save(folder / FILE, rotation)


def as_published(vectors: Matrix, version: Published) -> Matrix:
    """Vectors float32 [V, d] in the space of a version's own, turned where that was.

    They are of the embeddings that the version was made of, such as a stage keeps them.
    """
    is_turned = version.manifest.settings.get("align") == "applied"
    if not is_turned or FILE not in version.manifest.files:
        return vectors
    turned = np.empty_like(vectors)
    rotate(vectors, np.load(version.path / FILE), turned)
    return turned


def rotate_model(folder: Path, rotation: Rotation) -> None:
    """Turn a saved model's head and query map in place.

    Raises ArtifactError where the model has no such head: then nothing that it makes of new items
    could be compared with the turned vectors.
    """
    file = folder / WEIGHTS
    try:
        weights = load_file(file)
        weights[HEAD] = _float32(rotation.T @ weights[HEAD].astype(np.float64))
        if WEIGHT in weights:
            turned = rotation.T @ weights[WEIGHT].astype(np.float64) @ rotation
            weights[WEIGHT] = _float32(turned)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise ArtifactError(
            f"{file}: its head cannot be turned ({error}), so its new items would not fit the "
            f"aligned vectors; set publish.align to 'beside'"
        ) from error
    save_file(weights, file)


def _float32(matrix: Rotation) -> Matrix:
    return np.ascontiguousarray(matrix, dtype=np.float32)
