"""The embed stage: from a trained model to one matrix of all items' embeddings."""

from __future__ import annotations

from math import isfinite
from pathlib import Path

import numpy as np

from pinsage.config import EmbedConfig
from pinsage.inference.engine import EMBEDDINGS, Engine, Job, require_in_range
from pinsage.inference.local import LocalEngine
from pinsage.store import Facts

_BLOCK = 1 << 16  # rows that are looked at together


def choose_engine(settings: EmbedConfig) -> Engine:
    """The engine that the settings name."""
    if settings.engine == "ray":
        from pinsage.inference.ray_engine import RayEngine

        return RayEngine()
    return LocalEngine()


def write_embeddings(job: Job, out: Path) -> Facts:
    """Write `embeddings.npy`, float32 [N, d], rows in catalog order; what is to be said of it.

    Raises ConfigError where float16 is too narrow for the model's layers.
    """
    choose_engine(job.settings).embed(job, out)
    facts = _facts(out / EMBEDDINGS)
    require_in_range(job.settings, is_finite=isfinite(facts["mean_norm"]))
    return facts


def _facts(file: Path) -> Facts:
    """Of a matrix that need not fit into memory."""
    embeddings = np.load(file, mmap_mode="r")
    count, dimension = embeddings.shape
    norms, total, squares = 0.0, np.zeros(dimension), np.zeros(dimension)
    for start in range(0, count, _BLOCK):
        rows = embeddings[start : start + _BLOCK].astype(np.float64)
        norms += np.linalg.norm(rows, axis=1).sum()
        total += rows.sum(axis=0)
        squares += np.square(rows).sum(axis=0)
    mean = total / max(1, count)
    variance = np.maximum(squares / max(1, count) - np.square(mean), 0)
    return {
        "num_items": count,
        "dimension": dimension,
        "mean_norm": float(norms / max(1, count)),
        "mean_std": float(np.sqrt(variance).mean()),
    }
