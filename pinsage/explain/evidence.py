"""What a published version was made of, found again under `<root>/stages` by content.

A version's manifest holds the digest of each artifact's content, so an artifact that was removed
and made again, under another key even, is the one that is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import ArtifactError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.local import read_items
from pinsage.model.io import load_model
from pinsage.model.pinsage import PinSage
from pinsage.model.text_vectors import SentenceVectors, TextVectors
from pinsage.retrieval.publish import JUDGED_BY
from pinsage.retrieval.published import Published
from pinsage.store import MANIFEST, Artifact, open_artifact, read_manifest

# What the manifest of a version calls its sources -> the stages that make them, and the files that
# its digest is of; none named means all.
_STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "items": ("ingest", ()),
    "graph": ("graph", ()),
    "evaluation": ("evaluate", JUDGED_BY),
    "embeddings": ("embed", ()),
}


@dataclass(frozen=True)
class Evidence:
    """Everything that an explanation looks at; rows are the same in all of it.

    Attributes:
        vectors: the published embeddings, float32 [N, d]
        items: the catalog with its feature columns, N rows
        graph, table: what the embeddings were made over
        walks, seed: what `table` was made with
        model: what the embeddings were made by
        ingested: folder of the interactions and of the users' ids
        texts: where the model's vectors of texts come from
    """

    vectors: npt.NDArray[np.float32]
    items: pd.DataFrame
    graph: BipartiteGraph
    table: Neighbourhoods
    walks: NeighbourhoodConfig
    seed: int
    model: PinSage
    ingested: Path
    texts: TextVectors


def load_evidence(root: Path, version: Published) -> Evidence:
    """Open and verify what a version was made of. Raises ArtifactError where it is not there."""
    ingested, built = find_source(root, version, "items"), find_source(root, version, "graph")
    embedding = find_source(root, version, "embeddings").manifest
    wanted = embedding.inputs.get("neighbourhoods", "")
    table = _find(root, version, "neighbourhoods", wanted)
    walks, seed = _walks(table)
    return Evidence(
        vectors=version.vectors,
        items=read_items(ingested.path),
        graph=BipartiteGraph.open(built.path),
        table=Neighbourhoods.open(table.path),
        walks=walks,
        seed=seed,
        model=load_model(version.path / "model"),
        ingested=ingested.path,
        texts=SentenceVectors.below(root),
    )


def find_source(root: Path, version: Published, source: str) -> Artifact:
    """The artifact that a version calls `items`, `graph`, `evaluation` or `embeddings`, verified.

    Raises ArtifactError where it is no longer there, or damaged.
    """
    stage, files = _STAGES[source]
    return _find(root, version, stage, version.manifest.inputs[source], *files)


def _find(root: Path, version: Published, stage: str, digest: str, *files: str) -> Artifact:
    """The stage's artifact whose files have this digest, verified."""
    folder = root / "stages" / stage
    for path in sorted(file.parent for file in folder.glob(f"[!.]*/{MANIFEST}")):
        try:
            manifest = read_manifest(path)
        except ArtifactError:
            continue  # another's damage; if it was this one, the message below is right too
        if Artifact(path, manifest).digest(*files) == digest:
            return open_artifact(path)
    raise ArtifactError(
        f"{folder}: no artifact there has the content that version {version.version} of "
        f"{version.path.parent.name} was made of; it was removed, or the version was published "
        f"from another root. Run `pinsage run` with its configuration to make it again, or name "
        f"the right root with --root"
    )


def _walks(table: Artifact) -> tuple[NeighbourhoodConfig, int]:
    settings = dict(table.manifest.settings)
    try:
        seed = int(settings.pop("seed"))
        settings.pop("content", None)  # the columns that items are alike by: the model's own
        return NeighbourhoodConfig.model_validate(settings), seed
    except (KeyError, ValidationError) as error:
        raise ArtifactError(
            f"{table.path}: was made with settings that this version of the software does not "
            f"know ({error}); delete it and run again to rebuild it"
        ) from None
