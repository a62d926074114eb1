"""Artifacts of hand-made catalogs, to be published without training anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import Config, parse_config
from pinsage.retrieval.index import write_index
from pinsage.retrieval.publish import Version, publish
from pinsage.store import Artifact, Facts, Store, Workspace, digest_of

Matrix = npt.NDArray[np.float32]
PublishItems = Callable[..., Version]
CODE = ("pinsage.errors",)


def unit_rows(num_rows: int, width: int, seed: int = 0) -> Matrix:
    matrix = np.random.default_rng(seed).normal(size=(num_rows, width)).astype(np.float32)
    unit: Matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return unit


def shelf_config(root: Path, keep: int = 5, **index: Any) -> Config:
    data = {"interactions": {"path": "unused"}}
    publishing = {"keep": keep}
    tree = {"name": "films", "root": str(root), "data": data, "publish": publishing, "index": index}
    return parse_config(tree)


def artifacts(
    config: Config, ids: Sequence[Any], titles: Sequence[str], matrix: Matrix
) -> dict[str, Any]:
    """The seven artifacts that `publish` takes; each write is as small as its stage's own."""
    store = Store(config.root)
    about = {"rows": digest_of([list(ids), list(titles), matrix.tolist()])}

    def stage(name: str, build: Callable[[Workspace], Facts]) -> Artifact:
        return store.stage(name, build, settings={}, inputs=about, code=CODE)

    def ingest(work: Workspace) -> Facts:
        items = pa.table({"item_id": list(ids), "title": list(titles)})
        pq.write_table(items, work.path / "items.parquet")
        return {"num_interactions": 7, "last_time": "2024-01-01T00:00:00+00:00"}

    def train(work: Workspace) -> Facts:
        (work.path / "model").mkdir()
        (work.path / "model" / "config.json").write_text(
            json.dumps({"model": {"output": matrix.shape[1]}})
        )
        (work.path / "history.json").write_text("[]")
        return {}

    def embed(work: Workspace) -> Facts:
        np.save(work.path / "embeddings.npy", matrix)
        return {"num_items": len(matrix), "dimension": matrix.shape[1]}

    embedded = stage("embed", embed)

    def index(work: Workspace) -> Facts:
        return write_index(embedded.file("embeddings.npy"), config.index, config.seed, work.path)

    def report(work: Workspace) -> Facts:
        (work.path / "report.html").write_text("<!doctype html>")
        return {}

    return {
        "ingested": stage("ingest", ingest),
        "built": stage("graph", lambda _: {}),
        "trained": stage("train", train),
        "evaluated": stage("evaluate", lambda _: {"test_mrr": 0.5, "test_best_baseline": "kNN"}),
        "embedded": embedded,
        "indexed": stage("index", index),
        "reported": stage("report", report),
    }


@pytest.fixture(scope="session")
def publish_items() -> PublishItems:
    """`publish_items(root, seed=0, keep=5, ids=…, titles=…, matrix=…)` publishes 12 films."""

    def run(
        root: Path,
        *,
        seed: int = 0,
        keep: int = 5,
        ids: Sequence[Any] | None = None,
        titles: Sequence[str] | None = None,
        matrix: Matrix | None = None,
    ) -> Version:
        matrix = unit_rows(len(ids or titles or range(12)), 4, seed) if matrix is None else matrix
        config = shelf_config(root, keep)
        ids = ids or [f"i{row}" for row in range(len(matrix))]
        titles = titles or [f"Film {row}" for row in range(len(matrix))]
        return publish(config, **artifacts(config, ids, titles, matrix))

    return run
