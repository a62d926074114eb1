"""Connections to Ray: what is said where nothing answers; a cluster of one's own ends with it."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from pinsage.cluster import connected
from pinsage.errors import ClusterError
from tests.inference.ray_nodes import ray_leaves_processes

pytest.importorskip("ray", reason="Ray is an extra")
pytestmark = [pytest.mark.distributed]


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(ClusterError, match=f"{address}: no Ray cluster .* `ray start --head`"):
        connected(address).__enter__()
    assert time.monotonic() - start < 30


@pytest.mark.slow
@ray_leaves_processes
def test_a_cluster_of_ones_own_is_of_that_size_and_ends_with_the_block() -> None:
    with connected(cpus=1, object_store=100 << 20) as ray:
        resources = ray.cluster_resources()
        assert resources["CPU"] == 1
        assert resources["object_store_memory"] == 100 << 20
        if sys.platform == "linux":
            assert "node:127.0.0.2" in resources  # nobody else can reach it
        with connected("ignored:1") as same:  # a connection of this process is used as it is
            assert same.is_initialized()
        assert ray.is_initialized()
    assert not ray.is_initialized()
