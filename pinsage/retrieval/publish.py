"""Publishing a version: staged, verified, visible at once, and only then pointed at.

The same inputs make one version, not two; readers see the complete old or the complete new one.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage import __version__
from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.files import publish_folder, staging_folder
from pinsage.retrieval.index import FILE as INDEX_FILE
from pinsage.retrieval.published import open_version
from pinsage.retrieval.versions import (
    EMBEDDINGS,
    find_by_key,
    locked,
    new_version,
    prune,
    shelf,
    switch,
)
from pinsage.store import MANIFEST, Artifact, Facts, Manifest, code_digest, digest_of, inventory

REPORT = "report.html"
# What a version says of its evaluation: not metrics.json and table.md, made of these, nor
# tuning.json, which holds wall times.
JUDGED_BY = ("results.parquet", "ranks.parquet")
_ROWS_A_SHARD = 1_000_000
_CODE = ("pinsage.retrieval",)


@dataclass(frozen=True)
class Version:
    """A published version; `reused` says that the same had been published before."""

    name: str
    path: Path
    reused: bool


def publish(
    config: Config,
    *,
    ingested: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    embedded: Artifact,
    indexed: Artifact,
    reported: Artifact,
) -> Version:
    """Publish embeddings, index, model and report as one version, and switch readers to it.

    The report is no part of what makes a version: the same embeddings are one, however shown.
    Nothing that was published before changes if this fails. Versions beyond `publish.keep` go.
    """
    sources = {
        "items": ingested,
        "graph": built,
        "model": trained,
        "evaluation": evaluated,
        "embeddings": embedded,
        "index": indexed,
    }
    inputs = {name: artifact.digest() for name, artifact in sources.items()}
    inputs["model"] = trained.digest("model/")  # not history.json, which holds wall times
    inputs["evaluation"] = evaluated.digest(*JUDGED_BY)
    key = digest_of({"name": config.name, "inputs": inputs})[:16]
    folder = shelf(config.root, config.name)
    with locked(folder):
        existing = find_by_key(folder, key)
        path = existing or _make(config, sources | {"report": reported}, inputs, key, folder)
        switch(folder, path.name)
        prune(folder, config.publish.keep)
    return Version(path.name, path, reused=existing is not None)


def _make(
    config: Config, sources: dict[str, Artifact], inputs: dict[str, str], key: str, folder: Path
) -> Path:
    now = datetime.now(UTC)
    target = folder / new_version(folder, now, key)
    with staging_folder(target) as staging:
        _write_shards(sources["items"], sources["embeddings"], staging / EMBEDDINGS)
        shutil.copyfile(sources["index"].file(INDEX_FILE), staging / INDEX_FILE)
        shutil.copytree(sources["model"].path / "model", staging / "model")
        shutil.copyfile(sources["report"].file(REPORT), staging / REPORT)
        manifest = Manifest(
            stage="publish",
            key=key,
            version=__version__,
            created=now.isoformat(),
            settings={"name": config.name, "metric": "inner product"},
            inputs=inputs,
            code=code_digest(_CODE),
            files=inventory(staging),
            facts=_facts(config, sources),
        )
        (staging / MANIFEST).write_text(manifest.to_json())
        open_version(staging).related(0, 1)  # what readers will do, before any of them can
        publish_folder(staging, target)
    return target


def _write_shards(ingested: Artifact, embedded: Artifact, out: Path) -> None:
    out.mkdir()
    items = pq.read_table(ingested.file("items.parquet"), columns=["item_id", "title"])
    matrix = np.load(embedded.file("embeddings.npy"), mmap_mode="r")
    if len(items) != len(matrix):
        raise ArtifactError(
            f"{embedded.path}: has {len(matrix):,} embeddings for the {len(items):,} items of "
            f"{ingested.path}; embed these items again"
        )
    for shard, start in enumerate(range(0, len(matrix), _ROWS_A_SHARD)):
        block = np.ascontiguousarray(matrix[start : start + _ROWS_A_SHARD])
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(block.ravel()), block.shape[1])
        table = items.slice(start, len(block)).append_column("vector", vectors)
        pq.write_table(table, out / f"part-{shard:05d}.parquet")


def _facts(config: Config, sources: dict[str, Artifact]) -> Facts:
    embedded, indexed = sources["embeddings"].facts, sources["index"].facts
    quality = {k: v for k, v in sources["evaluation"].facts.items() if isinstance(v, int | float)}
    return {
        "num_items": embedded["num_items"],
        "dimension": embedded["dimension"],
        "by_content": config.neighbourhoods.by_content,  # so that new items are treated alike
        "index": {k: v for k, v in indexed.items() if k not in ("num_items", "dimension")},
        "num_interactions": sources["items"].facts["num_interactions"],
        "last_time": sources["items"].facts["last_time"],
        "seen_until": sources["model"].facts.get("seen_until", ""),  # what it may be ranked after
        "evaluation": quality,
        "artifacts": {name: str(a.manifest.key) for name, a in sources.items()},
    }
