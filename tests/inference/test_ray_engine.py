"""The Ray engine: what every engine keeps, on two nodes, and what is its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pinsage import stages
from pinsage.cluster import connected
from pinsage.config import parse_config
from pinsage.errors import ClusterError, GraphError
from pinsage.inference.engine import EMBEDDINGS, Engine
from pinsage.inference.ray_engine import RayEngine, choose_parts
from pinsage.inference.stage import choose_engine
from pinsage.store import Store
from tests.inference.engine_contract import TOLERANCE, EngineContract, embedded, make_case
from tests.inference.ray_nodes import ray_leaves_processes, ray_nodes

pytestmark = [pytest.mark.slow, pytest.mark.distributed, ray_leaves_processes]
pytest.importorskip("ray", reason="Ray is an extra")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, connected to for all tests of the file: each connection takes seconds."""
    with ray_nodes(2) as nodes, connected(nodes.address) as ray:
        yield ray


@pytest.fixture
def engine(cluster: Any) -> Engine:
    return RayEngine()


class TestRayEngine(EngineContract):
    """`partitions` is 0: two parts for each of the two nodes."""


@pytest.mark.parametrize("order", ["catalog", "locality"])
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("partitions", [1, 7, 61, 1000])
def test_any_number_of_parts_in_any_order_gives_the_same(
    engine: Engine, tmp_path: Path, order: str, storage: str, partitions: int
) -> None:
    case = make_case(tmp_path / "case")
    out = tmp_path / "out"
    settings = {"order": order, "storage": storage, "partitions": partitions}
    found = embedded(engine, case.job, out, **settings)
    np.testing.assert_allclose(found, case.expected, atol=TOLERANCE[storage])


def test_nothing_stays_in_scratch(engine: Engine, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    embedded(engine, case.job, tmp_path / "out")
    assert list(case.job.scratch.iterdir()) == []


def test_finished_parts_are_not_made_again(engine: Engine, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case", layers=2)
    whole = embedded(engine, case.job, tmp_path / "out", partitions=4)
    (tmp_path / "case" / "table" / "neighbors.npy").rename(tmp_path / "hidden.npy")
    broken = np.load(tmp_path / "hidden.npy")
    broken[50:] = 60  # the last parts' rows, of which the first parts need nothing
    broken[50:, 0] = 61  # no such item: these parts cannot be planned
    np.save(tmp_path / "case" / "table" / "neighbors.npy", broken)
    with pytest.raises(GraphError, match="below 61"):
        embedded(engine, case.job, tmp_path / "again", partitions=4)
    left = {file.name: file.stat().st_mtime_ns for file in case.job.scratch.glob("*/layer-0-*")}
    assert len(left) == 4
    shutil.copy(tmp_path / "hidden.npy", tmp_path / "case" / "table" / "neighbors.npy")
    made: dict[str, int] = {}
    rmtree = shutil.rmtree

    def noted(folder: Path) -> None:
        made.update({file.name: file.stat().st_mtime_ns for file in folder.glob("layer-0-*")})
        rmtree(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pinsage.inference.ray_engine.shutil.rmtree", noted)
        again = embedded(engine, case.job, tmp_path / "out", partitions=4)
    assert made == left
    np.testing.assert_array_equal(again, whole)


def test_an_error_on_a_node_is_the_one_it_was_there(engine: Engine, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    file = case.job.catalog / "items.parquet"
    file.rename(file.with_name("elsewhere.parquet"))
    with pytest.raises(FileNotFoundError, match=r"items\.parquet"):
        embedded(engine, case.job, tmp_path / "out")


def test_a_path_that_a_node_does_not_see_is_named(engine: Engine, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    shutil.rmtree(case.job.catalog)
    with pytest.raises(ClusterError, match=r"catalog: not there on node .*mount it there"):
        embedded(engine, case.job, tmp_path / "out")


def test_a_gpu_that_no_node_has_is_refused(engine: Engine, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case")
    with pytest.raises(ClusterError, match="no node of the cluster has a GPU"):
        embedded(engine, case.job, tmp_path / "out", device="cuda")
    found = embedded(engine, case.job, tmp_path / "out", device="auto")
    np.testing.assert_allclose(found, case.expected, atol=TOLERANCE["float32"])


def test_the_stage_makes_the_artifact_that_the_local_engine_made(
    engine: Engine, tiny_run: SimpleNamespace, tmp_path: Path
) -> None:
    tree = tiny_run.config.model_dump(mode="json")
    ray = {"engine": "ray", "partitions": 5, "order": "locality"}
    config = parse_config({**tree, "root": str(tmp_path), "embed": {**tree["embed"], **ray}})
    made = stages.embed(
        config, Store(tmp_path), tiny_run.ingest, tiny_run.full_graph, tiny_run.full_table,
        tiny_run.train,
    )  # fmt: skip
    assert isinstance(choose_engine(config.embed), RayEngine)
    assert made.path.name == tiny_run.embed.path.name
    found, expected = (np.load(each.file(EMBEDDINGS)) for each in (made, tiny_run.embed))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_parts_are_as_many_as_asked_for_unless_their_objects_got_too_small() -> None:
    few = {"slots": 2, "num_nodes": 2, "most_bytes": 1 << 20}
    assert choose_parts(0, num_items=1000, **few) == 4
    assert choose_parts(0, num_items=1000, **{**few, "num_nodes": 1}) == 2
    assert choose_parts(0, num_items=3, **few) == 3
    assert choose_parts(20, num_items=1000, **few) == 20
    assert choose_parts(500, num_items=1000, **few) == 64
    assert choose_parts(500, num_items=10**6, **{**few, "most_bytes": 10**4 << 20}) == 100
    assert choose_parts(5000, num_items=10**9, **{**few, "most_bytes": 10**9 << 20}) == 1024
