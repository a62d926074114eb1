"""Who walks: this machine, or a cluster. Walks are functions of seed, item and number: one table.

An engine takes blocks of item rows and yields their rows of the table in the same order.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager

from pinsage.cluster import connected
from pinsage.config import NeighbourhoodConfig
from pinsage.graph.bipartite import BipartiteGraph, Indices
from pinsage.graph.neighbourhoods import Rows, walker
from pinsage.graph.ray_walks import walk_on_ray


@contextmanager
def walking(
    graph: BipartiteGraph, settings: NeighbourhoodConfig, seed: int, blocks: Iterable[Indices]
) -> Iterator[Iterator[Rows]]:
    """Rows of the table for each block, by the engine that the settings name, while needed.

    Raises GraphError where a GPU is asked for that is not there; with a cluster MissingExtraError,
    and ClusterError where it does not answer or loses too many workers.
    """
    if settings.engine == "local":
        walk = walker(graph, settings, seed)
        yield (walk(items) for items in blocks)
        return
    with connected(settings.address) as ray:
        found: Generator[Rows] = walk_on_ray(ray, graph, settings, seed, blocks)
        with closing(found):  # what is still walked is given up where the caller stops
            yield found
