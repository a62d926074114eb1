"""A catalog to embed, made once and kept in a folder: features, graph, table and model on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from _graphs import power_law_graph

from pinsage.config import EmbedConfig, ModelConfig, NeighbourhoodConfig
from pinsage.data.row_groups import write_rows
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods, build_neighbourhoods
from pinsage.graph.npy import npy_header
from pinsage.inference.engine import Job
from pinsage.model.features import FeatureSpec
from pinsage.model.io import save_model
from pinsage.model.pinsage import PinSage

WIDTH = 128
LAYERS = 2
_WALKED = 2_000_000  # items; above, neighbours are drawn alike, which is harder on the caches
_PART = 1 << 18


def make_job(folder: Path, num_items: int, size: int) -> Job:
    """The job of N items with T neighbours; what is there already is taken as it is.

    Features are a vector of 128 numbers, so that encoding them is a small part; the model has no
    vectors of its own for items, as in the paper.
    """
    place = folder / f"{num_items}-{size}"
    job = Job(
        place / "model", folder / f"{num_items}-catalog", folder / f"{num_items}-graph",
        place / "table", place, place / "scratch", EmbedConfig(), threads=2,
    )  # fmt: skip
    for path in (job.catalog, job.graph, job.table, job.scratch):
        path.mkdir(parents=True, exist_ok=True)
    if not (place / "made.json").exists():
        _write(job, num_items, size)
        (place / "made.json").write_text(json.dumps({"items": num_items, "T": size}))
    return job


def _write(job: Job, num_items: int, size: int) -> None:
    if not (job.catalog / "items.parquet").exists():
        schema = pa.schema({"vector": pa.list_(pa.float32())})
        write_rows(job.catalog / "items.parquet", schema, _vectors(num_items))
    graph = _graph(job.graph, num_items)
    if num_items <= _WALKED:
        settings = NeighbourhoodConfig(size=size)
        build_neighbourhoods(graph, settings, seed=7).save(job.table)
    else:
        _write_uniform(job.table, num_items, size)
    rng = np.random.default_rng(0)
    few = pd.DataFrame({"vector": list(rng.standard_normal((8, WIDTH), dtype=np.float32))})
    spec = FeatureSpec.fit(few, np.arange(8), {"vector": "embedding"}, separator="|",
                           text_buckets=64)  # fmt: skip
    torch.manual_seed(0)
    config = ModelConfig(layers=LAYERS, hidden=WIDTH, output=WIDTH, id_embedding=False)
    save_model(PinSage(config, spec, num_items), job.model)


def _graph(folder: Path, num_items: int) -> BipartiteGraph:
    if not (folder / "item_indptr.npy").exists():
        # Where nothing walks on it, the graph is there for its items' degree alone.
        edges = 10 * num_items if num_items <= _WALKED else num_items
        power_law_graph(num_items, num_items // 5, edges, seed=7).save(folder)
    return BipartiteGraph.open(folder)


def _vectors(num_items: int) -> Iterator[pa.Table]:
    for start in range(0, num_items, _PART):
        count = min(_PART, num_items - start)
        values = np.random.default_rng(start).standard_normal(count * WIDTH, dtype=np.float32)
        offsets: Any = pa.array(np.arange(0, count * WIDTH + 1, WIDTH, dtype=np.int32))
        lists = pa.ListArray.from_arrays(offsets, pa.array(values), type=pa.list_(pa.float32()))
        yield pa.table({"vector": lists})


def _write_uniform(folder: Path, num_items: int, size: int) -> None:
    shape = (num_items, size)
    with ExitStack() as files:
        neighbors, weights = (
            files.enter_context((folder / f"{name}.npy").open("wb"))
            for name in ("neighbors", "weights")
        )
        neighbors.write(npy_header(np.int32, shape))
        weights.write(npy_header(np.float32, shape))
        for start in range(0, num_items, _PART):
            part = (min(_PART, num_items - start), size)
            rng = np.random.default_rng(start)
            rng.integers(0, num_items, part, dtype=np.int32).tofile(neighbors)
            np.full(part, 1 / size, dtype=np.float32).tofile(weights)


def with_settings(job: Job, threads: int, **settings: Any) -> Job:
    """The same job computed otherwise."""
    return replace(job, threads=threads, settings=EmbedConfig(**settings))


def table_of(job: Job) -> Neighbourhoods:
    """Its neighbourhoods."""
    return Neighbourhoods.open(job.table)
