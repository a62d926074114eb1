"""Walks on a Ray cluster give the table of this machine, to the bit, whoever dies."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from pydantic import ValidationError

from pinsage import stages
from pinsage.cluster import import_ray
from pinsage.config import NeighbourhoodConfig, parse_config
from pinsage.errors import ClusterError, GraphError
from pinsage.graph import ray_walks, stage
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.graph.engines import walking
from pinsage.graph.neighbourhoods import Rows, build_neighbourhoods
from pinsage.graph.ray_walks import walk_on_ray
from pinsage.graph.walkable import walkable
from pinsage.graph.walks import Edges
from pinsage.progress import Progress
from pinsage.store import Store

if TYPE_CHECKING:
    from tests.conftest import MakeConfig
    from tests.graph.conftest import WithWeights

pytest.importorskip("ray", reason="Ray, the extra `ray`, is not installed")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]
SETTINGS = NeighbourhoodConfig(size=6, walks=40)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes, of two CPUs and of one, that this process is connected to."""
    ray = import_ray()
    from ray.cluster_utils import Cluster

    made: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield ray
    ray.shutdown()
    made.shutdown()


def blocks(graph: BipartiteGraph, size: int) -> list[npt.NDArray[np.int32]]:
    items = np.arange(graph.num_items, dtype=np.int32)
    return [items[first : first + size] for first in range(0, len(items), size)]


def assert_table(found: list[Rows], graph: BipartiteGraph, seed: int) -> None:
    whole = build_neighbourhoods(graph, SETTINGS, seed)
    np.testing.assert_array_equal(np.concatenate([rows[0] for rows in found]), whole.neighbors)
    np.testing.assert_array_equal(
        np.concatenate([rows[1] for rows in found]).view(np.int32), whole.weights.view(np.int32)
    )


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_table_is_the_local_one_to_the_bit(
    cluster: Any,
    town: BipartiteGraph,
    with_weights: WithWeights,
    at_once: int,
    is_weighted: bool,
) -> None:
    graph = town
    if is_weighted:
        graph = with_weights(town, np.random.default_rng(2).integers(1, 9, town.num_edges))
    found = list(walk_on_ray(cluster, graph, SETTINGS, 3, blocks(graph, 17), at_once))
    assert len(found) == 9
    assert_table(found, graph, 3)


def test_no_more_blocks_are_taken_than_are_walked_at_once(
    cluster: Any, town: BipartiteGraph
) -> None:
    taken: list[int] = []

    def told() -> Iterator[npt.NDArray[np.int32]]:
        for number, block in enumerate(blocks(town, 10)):
            taken.append(number)
            yield block

    found = walk_on_ray(cluster, town, SETTINGS, 3, told(), at_once=4)
    for number in range(1, 8):
        next(found)
        assert len(taken) == 4 + number
    found.close()


def in_shared_memory(ways: tuple[Edges, Edges]) -> tuple[str, list[bool]]:
    """The node, and of each array whether it lies in a mapping of the object store."""
    ray = import_ray()
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [
        [int(end, 16) for end in line.split()[0].split("-")] for line in lines if "plasma" in line
    ]
    places = [array.ctypes.data for edges in ways for array in edges if array is not None]
    shared = [any(first <= place < last for first, last in ranges) for place in places]
    return ray.get_runtime_context().get_node_id(), shared


def test_workers_read_the_graph_where_the_object_store_of_their_node_has_it(cluster: Any) -> None:
    rows = np.arange(50_000, dtype=np.int32)  # smaller ones travel with the task
    graph = BipartiteGraph.from_edges(rows, rows // 5, num_items=50_000, num_contexts=10_000)
    ways = cluster.put(walkable(graph))
    look = cluster.remote(in_shared_memory).options(num_cpus=1, scheduling_strategy="SPREAD")
    seen = cluster.get([look.remote(ways) for _ in range(6)])
    assert {shared for _, found in seen for shared in found} == {True}
    assert len({node for node, _ in seen}) == 2


def test_a_killed_worker_changes_nothing(
    cluster: Any, town: BipartiteGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk, mark = ray_walks._walk_block, tmp_path / "killed"

    def dying(items: Any, *arguments: Any) -> Rows:
        if items[0] == 34 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return walk(items, *arguments)

    monkeypatch.setattr(ray_walks, "_walk_block", dying)
    found = list(walk_on_ray(cluster, town, SETTINGS, 3, blocks(town, 17)))
    assert mark.exists()
    assert_table(found, town, 3)


def test_a_block_that_kills_every_worker_ends_in_words(
    cluster: Any, town: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> Rows:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    monkeypatch.setattr(ray_walks, "_walk_block", dying)
    monkeypatch.setattr(ray_walks, "_RETRIES", 1)
    with pytest.raises(ClusterError, match=r"were lost 2 times .*what is walked already stays"):
        list(walk_on_ray(cluster, town, SETTINGS, 3, blocks(town, 17)))


def test_an_error_in_a_task_is_its_own(
    cluster: Any, town: BipartiteGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> Rows:
        raise GraphError("an edge leads nowhere")

    monkeypatch.setattr(ray_walks, "_walk_block", failing)
    with pytest.raises(GraphError, match="an edge leads nowhere"):
        list(walk_on_ray(cluster, town, SETTINGS, 3, blocks(town, 17)))


def test_whoever_stops_leaves_no_task_behind(
    cluster: Any, town: BipartiteGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = ray_walks._walk_block

    def slow(items: Any, *arguments: Any) -> Rows:
        if items[0]:
            (tmp_path / f"{os.getpid()}").touch()
            time.sleep(600)
        return walk(items, *arguments)

    monkeypatch.setattr(ray_walks, "_walk_block", slow)
    settings = SETTINGS.model_copy(update={"engine": "ray"})

    def interrupted() -> None:
        with walking(town, settings, 3, blocks(town, 17)) as found:
            next(found)
            while not list(tmp_path.iterdir()):
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{each.name}").exists() for each in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("kept", [False, True])
def test_the_stage_makes_the_same_artifact_on_a_cluster(
    cluster: Any,
    tmp_path: Path,
    make_tiny_config: MakeConfig,
    monkeypatch: pytest.MonkeyPatch,
    kept: bool,
) -> None:
    monkeypatch.setattr(stage, "_TASK_BYTES", 300)  # a block is 7 of the 40 items
    local = make_tiny_config(tmp_path)
    store = Store(local.root)
    ingested = stages.ingest(local, store, stages.snapshot(local, store))
    parts = stages.split(local, store, ingested)
    train, full = (
        stages.graph(local, store, parts, parts), stages.graph(local, store, ingested, ingested)
    )  # fmt: skip
    if kept:  # a table whose rows are kept where they can be
        stages.neighbourhoods(local, store, train, parts)
    tree = local.model_dump(mode="json")
    ray = parse_config({**tree, "neighbourhoods": {**tree["neighbourhoods"], "engine": "ray"}})
    heard: list[Progress] = []
    on_ray = stages.neighbourhoods(ray, store, full, ingested, listener=heard.append)
    assert bool(on_ray.facts["kept_from"]) == kept
    assert (heard[0].done, heard[-1].done, heard[-1].total) == (0, 40, 40)
    elsewhere = Store(tmp_path / "local")
    here = stages.neighbourhoods(local, elsewhere, full, ingested)
    assert on_ray.manifest.key == here.manifest.key
    for name in ("neighbors.npy", "weights.npy"):
        assert on_ray.file(name).read_bytes() == here.file(name).read_bytes()


def test_a_cluster_is_not_asked_for_gpus() -> None:
    with pytest.raises(ValidationError, match="a cluster walks on its CPUs: set device to 'cpu'"):
        NeighbourhoodConfig(engine="ray", device="cuda")
