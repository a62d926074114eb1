"""The embed stage: from a trained model to one matrix of all items' embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pinsage.config import Config
from pinsage.inference.local import embed_trained
from pinsage.store import Facts


def write_embeddings(
    config: Config, ingested: Path, graph: Path, table: Path, trained: Path, out: Path
) -> Facts:
    """Write `embeddings.npy`, float32 [N, d], rows in catalog order."""
    embeddings = embed_trained(config, ingested, graph, table, trained)
    np.save(out / "embeddings.npy", embeddings)
    norms = np.linalg.norm(embeddings, axis=1)
    return {
        "num_items": embeddings.shape[0],
        "dimension": embeddings.shape[1],
        "mean_norm": float(norms.mean()),
        "mean_std": float(embeddings.std(axis=0).mean()),
    }
