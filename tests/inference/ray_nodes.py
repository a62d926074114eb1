"""A Ray cluster of several nodes on this machine, for tests: each a loopback address of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pinsage.cluster import import_ray

# Ray ends its processes and does not wait for them, which Python remarks on as it collects them.
ray_leaves_processes = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:subprocess:ResourceWarning"
)
_STORE = 80 << 20  # bytes a node


@contextmanager
def ray_nodes(count: int) -> Iterator[Any]:
    """A `ray.cluster_utils.Cluster` of a head without CPUs and `count` nodes of one CPU each."""
    import_ray()
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        # Not 127.0.0.1: Ray takes the host's address in its place.
        for number in range(count + 1):
            cluster.add_node(
                num_cpus=min(1, number), object_store_memory=_STORE, include_dashboard=False,
                node_ip_address=f"127.0.0.{number + 2}",
            )  # fmt: skip
        yield cluster
    finally:
        cluster.shutdown()
