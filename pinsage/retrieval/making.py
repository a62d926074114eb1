"""The files of a version: vectors, shards, index, model and report, with the manifest of them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pinsage import __version__
from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.files import publish_folder, staging_folder
from pinsage.model.query import read_query_map
from pinsage.retrieval.align import Matrix, Rotation, Side, rotate
from pinsage.retrieval.aligning import Alignment, compare, rotate_model, write_rotation
from pinsage.retrieval.fencing import Token
from pinsage.retrieval.index import write_index
from pinsage.retrieval.published import VECTORS, Published, open_version
from pinsage.retrieval.shards import shard_schema, write_shards
from pinsage.retrieval.shelf import EMBEDDINGS
from pinsage.retrieval.versions import new_version
from pinsage.store import MANIFEST, Artifact, Facts, Manifest, code_digest, inventory

REPORT = "report.html"
CONTEXTS = "contexts"  # folder of a version: users, embedded by their items
METRIC = "inner product"
_CODE = ("pinsage.retrieval",)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Making:
    """A version that is being made."""

    config: Config
    sources: dict[str, Artifact]
    inputs: dict[str, str]
    key: str
    token: Token
    origin: Mapping[str, str]

    def version_in(self, folder: Path, *, compared_with: str | None) -> Path:
        """The folder of a new version, complete; nobody follows it yet.

        `compared_with` is the version that readers follow, if any.
        """
        now = datetime.now(UTC)
        target = folder / new_version(folder, now, self.key)
        with staging_folder(target) as staging:
            facts = self._write(staging, target.name, _opened(folder, compared_with))
            manifest = Manifest(
                stage="publish",
                key=self.key,
                version=__version__,
                created=now.isoformat(),
                settings={
                    "name": self.config.name,
                    "metric": METRIC,
                    "align": self.config.publish.align,
                },
                inputs=self.inputs,
                code=code_digest(_CODE),
                files=inventory(staging),
                facts=facts,
            )
            (staging / MANIFEST).write_text(manifest.to_json())
            opened = open_version(staging)  # what readers will do, before any of them can
            opened.related(0, 1)
            publish_folder(staging, target)
        return target

    def _write(self, out: Path, version: str, last: Published | None) -> Facts:
        items = pq.read_table(
            self.sources["items"].file("items.parquet"), columns=["item_id", "title"]
        )
        matrix = np.load(self.sources["embeddings"].file("embeddings.npy"), mmap_mode="r")
        if len(items) != len(matrix):
            raise ArtifactError(
                f"{self.sources['embeddings'].path}: has {len(matrix):,} embeddings for the "
                f"{len(items):,} items of {self.sources['items'].path}; embed these items again"
            )
        _copy(self.sources["model"], out, "model/")
        side = Side(matrix, read_query_map(out / "model"))
        ids, seed = items["item_id"].to_pylist(), self.config.seed
        aligned = compare(ids, side, last, self.config.publish.align, seed)
        index_facts = self._write_vectors(matrix, aligned, out)
        vectors = np.load(out / VECTORS, mmap_mode="r")
        write_shards(items, vectors, version, out / EMBEDDINGS)
        shutil.copyfile(self.sources["report"].file(REPORT), out / REPORT)
        return self._facts(index_facts) | aligned.facts | {"schema": shard_schema(out / EMBEDDINGS)}

    def _write_vectors(self, matrix: Matrix, aligned: Alignment, out: Path) -> Facts:
        """Vectors, index, users; the model too where they are turned. Returns the index's facts."""
        if CONTEXTS in self.sources:
            _copy(self.sources[CONTEXTS], out / CONTEXTS)
        if aligned.rotation is not None:
            write_rotation(aligned.rotation, out)
        if aligned.rotation is None or self.config.publish.align != "applied":
            # Copies: a version does not depend on the stages that it was made of.
            shutil.copyfile(self.sources["embeddings"].file("embeddings.npy"), out / VECTORS)
            _copy(self.sources["index"], out)
            return self.sources["index"].facts
        _write_turned(matrix, aligned.rotation, out / VECTORS)
        rotate_model(out / "model", aligned.rotation)
        if CONTEXTS in self.sources:
            users = np.load(self.sources[CONTEXTS].file(VECTORS), mmap_mode="r")
            _write_turned(users, aligned.rotation, out / CONTEXTS / VECTORS)
        return write_index(
            out / VECTORS, self.config.index, self.config.seed, out, out / "model"
        )  # fmt: skip

    def _facts(self, index_facts: Facts) -> Facts:
        config, sources = self.config, self.sources
        embedded, ingested = sources["embeddings"].facts, sources["items"].facts
        evaluated = sources["evaluation"].facts
        return {
            "num_items": embedded["num_items"],
            "dimension": embedded["dimension"],
            "metric": METRIC,
            "by_content": config.neighbourhoods.by_content,  # so that new items are treated alike
            "index": {k: v for k, v in index_facts.items() if k not in ("num_items", "dimension")},
            "num_interactions": ingested["num_interactions"],
            "last_time": ingested["last_time"],
            # What it may be ranked after.
            "seen_until": sources["model"].facts.get("seen_until", ""),
            "evaluation": {k: v for k, v in evaluated.items() if isinstance(v, int | float)},
            "artifacts": {name: str(a.manifest.key) for name, a in sources.items()},
            "data": self.inputs["items"],
            "code": {"version": __version__, "digest": code_digest(("pinsage",))},
            "origin": dict(self.origin),
            "token": self.token.local,
            "to": config.publish.to or None,
        }


def _opened(folder: Path, version: str | None) -> Published | None:
    """A version to be compared with; None where there is none, or it is damaged."""
    if version is None:
        return None
    try:
        return open_version(folder / version)
    except ArtifactError as error:
        _log.warning("compared with nothing: %s", error)
        return None


def _write_turned(matrix: Matrix, rotation: Rotation, out: Path) -> None:
    turned = np.lib.format.open_memmap(out, mode="w+", dtype=np.float32, shape=matrix.shape)
    rotate(matrix, rotation, turned)
    turned.flush()


def _copy(source: Artifact, out: Path, below: str = "") -> None:
    for name in (each for each in source.manifest.files if each.startswith(below)):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.file(name), out / name)
