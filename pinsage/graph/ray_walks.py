"""Walks on a Ray cluster: a task a block of items, the graph once on each node.

The graph is put into the object store once. Tasks of a node read it where it lies, shared and
without a copy; a node gets it over the network when its first task starts. A task whose worker
or node is lost is run again elsewhere, and gives the same rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from typing import Any

from pinsage.config import NeighbourhoodConfig
from pinsage.errors import ClusterError
from pinsage.graph.bipartite import BipartiteGraph, Indices
from pinsage.graph.neighbourhoods import Rows, walked_rows
from pinsage.graph.walkable import walkable
from pinsage.graph.walks import Edges

_RETRIES = 5  # of a task whose worker was lost; what kills it every time is not to go on for ever
_STOPS = 10  # times that a task is told to stop, a second apart
_WAITING = 2  # blocks for each CPU: one that is walked, and one that its rows can wait behind


def walk_on_ray(
    ray: Any,
    graph: BipartiteGraph,
    settings: NeighbourhoodConfig,
    seed: int,
    blocks: Iterable[Indices],
    at_once: int | None = None,
) -> Generator[Rows]:
    """Rows of each block in order, walked by tasks of one CPU.

    At most `at_once` blocks are walked or wait to be taken, two for each CPU of the cluster unless
    said. Raises ClusterError where the graph does not fit into the object store, and where a task
    has lost its worker too often.
    """
    try:
        ways = ray.put(walkable(graph))
    except ray.exceptions.ObjectStoreFullError as error:
        raise ClusterError(
            f"the graph does not fit into Ray's object store on this machine ({error}); start the "
            f"cluster with a larger one (`ray start --object-store-memory`)"
        ) from error
    task = ray.remote(_walk_block).options(num_cpus=1, max_retries=_RETRIES)
    pending: deque[Any] = deque()
    try:
        for items in blocks:
            while len(pending) >= (at_once or _room(ray)):
                yield _taken(ray, pending)
            pending.append(task.remote(items, ways, settings, seed))
        while pending:
            yield _taken(ray, pending)
    finally:
        _stop(ray, list(pending))


def _stop(ray: Any, tasks: list[Any]) -> None:
    """Cancel tasks; again where one was just beginning, which may not have heard it."""
    for _ in range(_STOPS):
        if not tasks:
            return
        for each in tasks:
            ray.cancel(each, force=True)
        _, tasks = ray.wait(tasks, num_returns=len(tasks), timeout=1)


def _room(ray: Any) -> int:
    """Asked for each time: nodes come and go."""
    return max(1, _WAITING * int(ray.cluster_resources().get("CPU", 1)))


def _taken(ray: Any, pending: deque[Any]) -> Rows:
    try:
        rows: Rows = ray.get(pending[0])
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
    except ray.exceptions.RayError as error:
        raise ClusterError(
            f"walks on the cluster were lost {_RETRIES + 1} times ({error}); see that its workers "
            f"have memory enough, and run again: what is walked already stays"
        ) from error
    pending.popleft()
    return rows


def _walk_block(
    items: Indices, ways: tuple[Edges, Edges], settings: NeighbourhoodConfig, seed: int
) -> Rows:
    """What a task does; `ways` lies in the node's object store."""
    return walked_rows(ways, settings, seed, 1, items)
