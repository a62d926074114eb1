"""Memory that training keeps for its next step."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, resource
from pinsage.training.memory import kept_memory

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(64 << 20)
    libc.memset(block, 1, 64 << 20)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mib():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize() >> 20

step()
faults, mib = step(), resident_mib()
print("before", faults, 0)
try:
    with kept_memory():
        step()
        print("kept", step(), resident_mib() - mib)
        raise RuntimeError
except RuntimeError:
    mib = resident_mib() - mib
    print("after", step(), mib)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is tuned")


def measured(**settings: str) -> dict[str, tuple[int, int]]:
    """Page faults of a step, and MiB more than at first: before, kept, after."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUN"))}
    said = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=plain | settings, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    rows = [line.split() for line in said.splitlines()]
    return {name: (int(faults), int(mib)) for name, faults, mib in rows}


def test_a_step_gets_the_memory_of_the_one_before_and_in_the_end_it_goes_back() -> None:
    found = measured()
    usual, _ = found["before"]
    faults, mib = found["kept"]
    assert faults < usual / 100
    assert mib >= 64
    faults, mib = found["after"]  # the training failed, and still
    assert faults > usual / 2
    assert mib < 32


@pytest.mark.parametrize("setting", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_"])
def test_an_allocator_that_somebody_has_tuned_stays_as_it_is(setting: str) -> None:
    value = "glibc.malloc.tcache_count=7" if setting == "GLIBC_TUNABLES" else "131072"
    found = measured(**{setting: value})
    assert found["kept"][0] > found["before"][0] / 2
