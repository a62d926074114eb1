"""A Ray cluster: one that is there, or one of this machine's own for as long as it is needed.

Ray is an extra: nothing here is imported before a cluster is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pinsage.errors import ClusterError, MissingExtraError

LOCAL = "local"
_LOOPBACK = "127.0.0.1"
# Nothing is reported to anybody; a library's progress lines are not ours.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextmanager
def connected(address: str = LOCAL, *, cpus: int | None = None) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at `address` while the block runs.

    `local` starts a cluster of `cpus` (all there are, unless said) on this machine, that ends with
    the block. A connection that is there already is used as it is, and left. Raises
    MissingExtraError without Ray, and ClusterError where nothing answers at `address`.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    try:
        if address == LOCAL:
            # Ray would listen on whatever address the host's name stands for.
            ray.init(
                address=LOCAL, num_cpus=cpus, include_dashboard=False, log_to_driver=False,
                _node_ip_address=_LOOPBACK,
            )  # fmt: skip
        else:
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"{address}: no Ray cluster answers there ({error}); start one with "
            f"`ray start --head`, or leave the address at '{LOCAL}'"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


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
