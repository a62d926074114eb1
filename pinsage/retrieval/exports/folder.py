"""An export is a folder that appears complete or not at all; `about.json` says what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.errors import ArtifactError, ConfigError
from pinsage.files import publish_folder, staging_folder
from pinsage.retrieval.exports.indexes import write_faiss, write_usearch
from pinsage.retrieval.exports.pgvector import write_pgvector
from pinsage.retrieval.published import Published
from pinsage.retrieval.shards import vector_column

Format = Literal["parquet", "faiss", "usearch", "pgvector"]

ABOUT = "about.json"
ITEMS = "items.parquet"
QUERY_MAP = "query_map.npy"


def export(version: Published, kind: Format, to: Path, name: str) -> dict[str, Any]:
    """Write a version, of the data set `name`, into a new folder `to`; returns what is in it.

    Scores are inner products with the vector that searches. Where the model has a query map,
    `query_map.npy` is M, float32 [d, d]: an item searches with M z. Raises ConfigError for an
    unknown format and where `to` is there already, ArtifactError where it cannot be written.
    """
    check_target(kind, to)
    about = {
        "name": name,
        "version": version.version,
        "format": kind,
        "num_items": len(version.items),
        "dimension": int(version.vectors.shape[1]),
        "metric": "inner product",
    }
    if version.query.matrix is not None:
        about["query_map"] = {"file": QUERY_MAP, "normalize": version.query.normalize}
    try:
        with staging_folder(to) as staging:
            about |= _write(version, kind, staging, name)
            if version.query.matrix is not None:
                np.save(staging / QUERY_MAP, version.query.matrix)
            about["files"] = sorted(path.name for path in staging.iterdir())
            text = json.dumps(about, indent=2, ensure_ascii=False)
            (staging / ABOUT).write_text(text + "\n", encoding="utf-8")
            publish_folder(staging, to)
    except OSError as error:
        raise ArtifactError(f"{to}: cannot be written ({error}); choose another --to") from None
    return about


def check_target(kind: str, to: Path) -> None:
    """Raise ConfigError unless this can be exported there, before anything is read."""
    if kind not in get_args(Format):
        raise ConfigError(f"--format {kind}: expected one of {', '.join(get_args(Format))}")
    if to.exists():
        raise ConfigError(f"--to {to}: is there already; name a folder that is not there yet")


def _write(version: Published, kind: Format, folder: Path, name: str) -> dict[str, Any]:
    if kind == "pgvector":
        return write_pgvector(version, folder, name)
    return _WRITERS[kind](version, folder)


def _write_parquet(version: Published, folder: Path) -> dict[str, Any]:
    items = pa.Table.from_pandas(version.items[["item_id", "title"]], preserve_index=False)
    pq.write_table(items.append_column("vector", vector_column(version.vectors)), folder / ITEMS)
    return {}


_WRITERS: dict[str, Callable[[Published, Path], dict[str, Any]]] = {
    "parquet": _write_parquet,
    "faiss": write_faiss,
    "usearch": write_usearch,
}
