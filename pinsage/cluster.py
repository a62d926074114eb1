"""A Ray cluster: one that is there, or one of this machine's own for as long as it is needed.

Ray is an extra: nothing here is imported before a cluster is asked for.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pinsage.errors import ClusterError, MissingExtraError

LOCAL = "local"
# Ray takes the host's address in the place of 127.0.0.1; all of 127/8 is this machine on Linux.
_LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
_KNOCK = 10.0  # seconds
# Nothing is reported to anybody; a library's progress lines are not ours.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

_SILENT: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}


@contextmanager
def connected(
    address: str = LOCAL, *, cpus: int | None = None, object_store: int | None = None
) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address` while the block runs.

    `local` starts a cluster of `cpus` (all there are, unless said) on this machine, with so many
    bytes of `object_store` (a share of the memory, unless said), that ends with the block; it
    never joins one that is there. A connection of this process is used as it is, and left. Raises
    MissingExtraError without Ray, and ClusterError where nothing answers at `address`.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(address)
        if address == LOCAL:
            # Ray would listen on whatever address the host's name stands for.
            ray.init(
                address=LOCAL, num_cpus=cpus, include_dashboard=False, **_SILENT,
                object_store_memory=object_store, _node_ip_address=_LOOPBACK,
            )  # fmt: skip
        else:
            ray.init(address=address, **_SILENT)
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"{address}: no Ray cluster answers there ({error}); start one with "
            f"`ray start --head`, or leave the address at '{LOCAL}'"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError where nothing listens, which Ray takes minutes to find out."""
    host, separator, port = address.rpartition(":")
    if separator and port.isdigit() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()


def import_ray() -> Any:
    """The module `ray`. Raises MissingExtraError."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise MissingExtraError(
            "a cluster needs Ray, which is not installed; pip install 'pinsage-pipeline[ray]'"
        ) from None
    return ray
