"""How a query looks for items: by its own embedding, or by a learned linear map of it.

The score of an item i for a query q is (M z_q) · z_i; without a map M is the identity, which is the
paper's z_q · z_i. What follows an item need not be what is like it: with a map the score has a
direction, and a catalog still has one embedding an item and one index.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from pinsage.config import ModelConfig
from pinsage.errors import ArtifactError

Matrix = npt.NDArray[np.float32]

WEIGHTS = "weights.safetensors"
ARCHITECTURE = "config.json"
WEIGHT = "query_map.weight"  # the module of `PinSage`


@dataclass(frozen=True)
class QueryMap:
    """From embeddings of items to the vectors that they search with.

    Attributes:
        matrix: float32 [d, d], M; None is the identity
        normalize: whether M z is scaled to unit length
    """

    matrix: Matrix | None = None
    normalize: bool = False

    def __call__(self, vectors: Matrix) -> Matrix:
        """M z of each row, float32 of the shape of `vectors`: [d] or [N, d]."""
        if self.matrix is None:
            return vectors
        mapped: Matrix = vectors @ self.matrix.T
        if self.normalize:
            mapped /= np.maximum(np.linalg.norm(mapped, axis=-1, keepdims=True), 1e-12)
        return mapped


def read_query_map(model: Path) -> QueryMap:
    """The map of a saved model, without torch. Raises ArtifactError where it cannot be read."""
    source = model / ARCHITECTURE
    try:
        config = ModelConfig(**json.loads(source.read_text())["model"])
        if not config.query_map:
            return QueryMap()
        source = model / WEIGHTS
        with safe_open(source, framework="numpy") as weights:
            return QueryMap(weights.get_tensor(WEIGHT), config.normalize)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactError(f"{source}: not a readable model ({error}); train again") from error
