"""What every inference engine keeps: one class of tests, which an engine's own tests inherit.

    class TestMine(EngineContract):
        @pytest.fixture
        def engine(self) -> Engine: ...

The reference is message passing over the whole graph at once, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from pinsage.config import EmbedConfig, ModelConfig
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.neighbourhoods import Neighbourhoods
from pinsage.inference.engine import EMBEDDINGS, Engine, Job
from pinsage.model.features import FeatureSpec
from pinsage.model.io import save_model
from pinsage.model.pinsage import PinSage

NUM_ITEMS, SIZE, DIM = 61, 5, 6
KINDS: dict[str, Any] = {"title": "text", "image": "embedding"}
TOLERANCE = {"float32": 1e-5, "float16": 5e-3, "bfloat16": 3e-2}  # of entries of unit vectors
Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A job on disk, and what it must come to."""

    job: Job
    expected: Matrix


MakeCase = Callable[..., Case]


def make_case(
    folder: Path,
    *,
    num_items: int = NUM_ITEMS,
    alone: bool = False,
    stand_ins: bool = False,
    **sizes: Any,
) -> Case:
    """A catalog in row groups of ten, its graph, its table and a model with vectors for most.

    Every seventh item has no neighbour, or with `alone` none has; `stand_ins` gives the table
    degrees of its own; `sizes` are the model's.
    """
    rng = np.random.default_rng(11)
    items = pd.DataFrame(
        {
            "title": [f"tale {row % 7} of {row % 3}" for row in range(num_items)],
            "image": list(rng.random((num_items, 3), dtype=np.float32)),
        }
    )
    graph = BipartiteGraph.from_edges(
        rng.integers(0, num_items, 4 * num_items, dtype=np.int32),
        rng.integers(0, 9, 4 * num_items, dtype=np.int32), num_items=num_items, num_contexts=9,
    )  # fmt: skip
    degree = rng.random(num_items) * 9 if stand_ins else None
    table = replace(_table(rng, num_items, alone=alone), degree=degree)
    shown = table.shown_degree(graph)
    spec = FeatureSpec.fit(items, shown, KINDS, separator="|", text_buckets=64)
    config = ModelConfig(**{"hidden": 8, "output": DIM, "feature_channels": 4, **sizes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = PinSage(config, spec, num_items - min(3, num_items - 1)).eval()
    _write(folder, items, graph, table, model)
    job = Job(
        folder / "model", folder / "catalog", folder / "graph", folder / "table", folder,
        folder / "scratch", EmbedConfig(block=16), threads=2,
    )  # fmt: skip
    features = spec.transform(items, shown)
    return Case(job, _at_once(model, features, table))


def _table(rng: np.random.Generator, num_items: int, *, alone: bool) -> Neighbourhoods:
    neighbors = rng.integers(0, num_items, (num_items, SIZE), dtype=np.int32)
    neighbors[:, 2:][rng.random((num_items, SIZE - 2)) < 0.3] = -1
    neighbors[::7] = -1
    if alone:
        neighbors[:] = -1
    weights = rng.random(neighbors.shape, dtype=np.float32) * (neighbors >= 0)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return Neighbourhoods(neighbors, weights)


def _write(
    folder: Path, items: pd.DataFrame, graph: BipartiteGraph, table: Neighbourhoods, model: PinSage
) -> None:
    for name in ("catalog", "graph", "table", "scratch"):
        (folder / name).mkdir(parents=True)
    columns: dict[str, Any] = {
        "item_id": [f"i{row}" for row in range(len(items))],
        "title": items["title"].tolist(),
        "image": pa.array(items["image"].tolist(), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), folder / "catalog" / "items.parquet", row_group_size=10)
    graph.save(folder / "graph")
    table.save(folder / "table")
    save_model(model, folder / "model")


def _at_once(model: PinSage, features: Any, table: Neighbourhoods) -> Matrix:
    """Every layer by message passing over the whole graph."""
    target, slot = np.nonzero(table.neighbors >= 0)
    edge_index = torch.from_numpy(np.stack([table.neighbors[target, slot], target])).long()
    edge_weight = torch.from_numpy(table.weights[target, slot])
    with torch.no_grad():
        h: Tensor = model.encoder(features, torch.arange(table.num_items))
        for conv in model.layers:
            h = conv(h, edge_index, edge_weight)
        found: Matrix = model.head(h).numpy()
    return found


def embedded(engine: Engine, job: Job, out: Path, **settings: Any) -> Matrix:
    """What an engine makes of a job, with other settings."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = EmbedConfig(**{**job.settings.model_dump(), **settings})
    engine.embed(replace(job, settings=chosen), out)
    assert [file.name for file in out.iterdir()] == [EMBEDDINGS]
    found: Matrix = np.load(out / EMBEDDINGS)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    return found


class EngineContract:
    """To be inherited, with a fixture `engine`."""

    @pytest.mark.parametrize("layers", [0, 1, 2, 3])
    def test_it_equals_message_passing_over_the_whole_graph(
        self, engine: Engine, tmp_path: Path, layers: int
    ) -> None:
        case = make_case(tmp_path / "case", layers=layers)
        found = embedded(engine, case.job, tmp_path / "out")
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("aggregator", ["mean", "max"])
    def test_other_ways_to_pool_as_well(
        self, engine: Engine, tmp_path: Path, aggregator: str
    ) -> None:
        case = make_case(tmp_path / "case", aggregator=aggregator)
        found = embedded(engine, case.job, tmp_path / "out")
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("block", [1, 7, NUM_ITEMS, 10_000])
    def test_blocks_of_any_size_give_the_same(
        self, engine: Engine, tmp_path: Path, block: int
    ) -> None:
        case = make_case(tmp_path / "case")
        found = embedded(engine, case.job, tmp_path / "out", block=block)
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    @pytest.mark.parametrize("storage", ["float16", "bfloat16"])
    def test_halves_of_a_number_are_near(
        self, engine: Engine, tmp_path: Path, storage: str
    ) -> None:
        case = make_case(tmp_path / "case")
        found = embedded(engine, case.job, tmp_path / "out", storage=storage)
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE[storage])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
        difference = np.abs(found - case.expected).max()
        assert difference > TOLERANCE["float32"]  # else they were kept in float32

    def test_items_without_neighbours_are_embedded_from_their_content(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        case = make_case(tmp_path / "case", alone=True)
        found = embedded(engine, case.job, tmp_path / "out")
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    def test_a_catalog_of_one_item(self, engine: Engine, tmp_path: Path) -> None:
        case = make_case(tmp_path / "case", num_items=1)
        found = embedded(engine, case.job, tmp_path / "out")
        assert found.shape == (1, DIM)
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    def test_stand_ins_lend_their_degree(self, engine: Engine, tmp_path: Path) -> None:
        case = make_case(tmp_path / "case", stand_ins=True)
        found = embedded(engine, case.job, tmp_path / "out")
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])
        plain = make_case(tmp_path / "plain").expected
        assert np.abs(found - plain).max() > 1e-3

    def test_lengths_are_kept_where_the_model_keeps_them(
        self, engine: Engine, tmp_path: Path
    ) -> None:
        case = make_case(tmp_path / "case", normalize=False, id_embedding=False)
        found = embedded(engine, case.job, tmp_path / "out")
        np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])

    def test_a_second_run_and_leftovers_change_no_bit(self, engine: Engine, tmp_path: Path) -> None:
        case = make_case(tmp_path / "case")
        first = embedded(engine, case.job, tmp_path / "out")
        again = embedded(engine, case.job, tmp_path / "again")
        for file in [file for file in case.job.scratch.rglob("*") if file.is_file()]:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) // 2])
        (case.job.scratch / "unfinished.part").write_bytes(b"\0" * 99)
        mended = embedded(engine, case.job, tmp_path / "mended")
        np.testing.assert_array_equal(again, first)
        np.testing.assert_array_equal(mended, first)
