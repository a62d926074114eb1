"""Features read a block at a time: those of the whole catalog, in any order and in few bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pinsage.config import EmbedConfig, ModelConfig
from pinsage.errors import ConfigError, GraphError, TrainingError
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.engine import Job
from pinsage.inference.inputs import Inputs
from pinsage.model.features import FeatureSpec
from pinsage.model.io import save_model
from pinsage.model.pinsage import PinSage

NUM_ITEMS, GROUP = 50, 16
KINDS: dict[str, Any] = {
    "title": "text", "year": "numerical", "brand": "categorical", "tags": "multicategorical",
    "image": "embedding", "added": "timestamp",
}  # fmt: skip
Case = tuple[Job, pd.DataFrame, np.ndarray[Any, Any]]


def columns() -> pa.Table:
    """A missing value of every kind, and none of them in the second row group."""
    rng = np.random.default_rng(4)
    has_group = [not GROUP <= row < 2 * GROUP for row in range(NUM_ITEMS)]

    def holed(values: list[Any]) -> list[Any]:
        return [
            None if hole and row % 5 == 0 else value
            for row, (value, hole) in enumerate(zip(values, has_group, strict=True))
        ]

    times = [1_700_000_000_000_000 + row * 10**12 for row in range(NUM_ITEMS)]
    vectors = [rng.random(3, dtype=np.float32).tolist() for _ in range(NUM_ITEMS)]
    return pa.table(
        {
            "added": pa.array(holed(times), pa.timestamp("us", "UTC")),
            "item_id": [f"i{row}" for row in range(NUM_ITEMS)],
            "title": holed([f"tale {row % 7}" for row in range(NUM_ITEMS)]),
            "year": pa.array(holed(list(range(1950, 1950 + NUM_ITEMS))), pa.int64()),
            "brand": pa.array(holed([row % 4 for row in range(NUM_ITEMS)]), pa.int64()),
            "image": pa.array(holed(vectors), pa.list_(pa.float32())),
            "tags": pa.array(
                holed([["a", f"t{row % 3}"] for row in range(NUM_ITEMS)]), pa.list_(pa.string())
            ),
        }
    )


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("inputs")
    rng = np.random.default_rng(5)
    for name in ("catalog", "graph", "table"):
        (folder / name).mkdir()
    pq.write_table(columns(), folder / "catalog" / "items.parquet", row_group_size=GROUP)
    items = pq.read_table(folder / "catalog" / "items.parquet").to_pandas()
    graph = BipartiteGraph.from_edges(
        rng.integers(0, NUM_ITEMS, 200, dtype=np.int32),
        rng.integers(0, 9, 200, dtype=np.int32), num_items=NUM_ITEMS, num_contexts=9,
    )  # fmt: skip
    graph.save(folder / "graph")
    nobody = np.full((NUM_ITEMS, 2), -1, dtype=np.int32)
    Neighbourhoods(nobody, np.zeros(nobody.shape, dtype=np.float32)).save(folder / "table")
    spec = FeatureSpec.fit(items, graph.item_degree, KINDS, separator="|", text_buckets=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PinSage(ModelConfig(hidden=8, output=6, feature_channels=4), spec, NUM_ITEMS - 3)
    save_model(model, folder / "model")
    job = Job(
        folder / "model", folder / "catalog", folder / "graph", folder / "table", folder,
        folder / "scratch", EmbedConfig(), threads=1,
    )  # fmt: skip
    with torch.no_grad():
        whole = model.encoder(spec.transform(items, graph.item_degree), torch.arange(NUM_ITEMS))
    return job, items, whole.numpy()


def blocks(size: int) -> Iterator[slice]:
    for start in range(0, NUM_ITEMS, size):
        yield slice(start, min(NUM_ITEMS, start + size))


@pytest.mark.parametrize("size", [1, 7, GROUP, 23, NUM_ITEMS])
def test_blocks_in_order_are_the_rows_of_the_whole_catalog(case: Case, size: int) -> None:
    inputs = Inputs.open(case[0])
    assert (inputs.num_items, inputs.storage) == (NUM_ITEMS, torch.float32)
    found = torch.cat([inputs.encode(rows) for rows in blocks(size)])
    torch.testing.assert_close(found.numpy(), case[2], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "rows", [slice(33, 36), slice(0, 1), slice(49, 50), slice(15, 17), slice(3, 3)]
)
def test_a_block_may_begin_anywhere(case: Case, rows: slice) -> None:
    inputs = Inputs.open(case[0])
    inputs.encode(slice(20, 30))
    torch.testing.assert_close(inputs.encode(rows).numpy(), case[2][rows], atol=1e-6, rtol=0)


def test_each_row_is_decoded_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    iterate = pq.ParquetFile.iter_batches

    def counted(*arguments: Any, **named: Any) -> Iterator[pa.RecordBatch]:
        for batch in iterate(*arguments, **named):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    inputs = Inputs.open(case[0])
    for rows in blocks(7):
        inputs.encode(rows)
    assert sum(decoded) == NUM_ITEMS
    assert max(decoded) <= 7


def test_a_stand_ins_degree_comes_before_the_graphs(case: Case, tmp_path: Path) -> None:
    job, items, _ = case
    near = Neighbourhoods.open(job.table)
    degree = np.arange(NUM_ITEMS, dtype=np.float64) / 2
    Neighbourhoods(near.neighbors, near.weights, degree).save(tmp_path)
    inputs = Inputs.open(Job(**{**vars(job), "table": tmp_path}))
    rows = slice(10, 20)
    features = inputs.model.spec.transform(items.iloc[rows], degree[rows])
    with torch.no_grad():
        expected = inputs.model.encoder(features, torch.arange(10, 20))
    torch.testing.assert_close(inputs.encode(rows), expected, atol=1e-6, rtol=0)
    assert isinstance(inputs.table.degree, np.memmap)


def test_a_catalog_of_other_items_than_the_table_is_refused(case: Case, tmp_path: Path) -> None:
    job = case[0]
    near = Neighbourhoods.open(job.table)
    Neighbourhoods(near.neighbors[1:], near.weights[1:]).save(tmp_path)
    with pytest.raises(GraphError, match=r"items\.parquet: .* 50, 50 and 49 items.*run the stages"):
        Inputs.open(Job(**{**vars(job), "table": tmp_path}))


def test_a_missing_column_is_named(case: Case, tmp_path: Path) -> None:
    job = case[0]
    table = pq.read_table(job.catalog / "items.parquet").drop_columns(["year"])
    pq.write_table(table, tmp_path / "items.parquet")
    with pytest.raises(TrainingError, match="no column 'year'"):
        Inputs.open(Job(**{**vars(job), "catalog": tmp_path})).encode(slice(0, 5))


def test_a_vector_of_another_length_is_named_by_its_row_in_the_catalog(
    case: Case, tmp_path: Path
) -> None:
    job, items, _ = case
    vectors = items["image"].tolist()
    vectors[20] = [1.0, 2.0]
    table = pq.read_table(job.catalog / "items.parquet").drop_columns(["image"])
    image = pa.array(vectors, pa.list_(pa.float32()))
    pq.write_table(table.append_column("image", image), tmp_path / "items.parquet")
    with pytest.raises(TrainingError, match=r"'image', row 20: expected a list of 3 numbers"):
        Inputs.open(Job(**{**vars(job), "catalog": tmp_path})).encode(slice(16, 32))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_refused(case: Case) -> None:
    settings = EmbedConfig(device="cuda")
    with pytest.raises(ConfigError, match=r"embed\.device is cuda"):
        Inputs.open(Job(**{**vars(case[0]), "settings": settings}))
