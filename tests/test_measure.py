"""The meter: wall seconds by a clock that never steps back, and the block's own peak memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from pinsage import measure
from pinsage.measure import Meter


def touch(mebibytes: int) -> None:
    np.ones(mebibytes << 17)  # 8 bytes each, all written


def test_seconds_are_those_of_the_block() -> None:
    with Meter() as meter:
        time.sleep(0.05)
    assert 0.05 <= meter.seconds < 5


def test_a_wall_clock_that_steps_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([2e9, 1e9, 0.0])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    with Meter() as meter:
        pass
    assert 0 <= meter.seconds < 5


def test_peak_holds_what_was_freed_again() -> None:
    with Meter() as idle:
        pass
    with Meter() as busy:
        touch(200)
    assert busy.peak_mib > idle.peak_mib + 190


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux can reset the peak"
)
def test_peak_is_not_that_of_an_earlier_block() -> None:
    with Meter() as busy:
        touch(200)
    with Meter() as idle:
        pass
    assert idle.peak_mib < busy.peak_mib - 150


def test_is_filled_in_where_the_block_fails() -> None:
    meter = Meter()
    with pytest.raises(RuntimeError), meter:
        raise RuntimeError
    assert meter.peak_mib > 1


def test_without_proc_it_is_the_peak_of_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(measure, "_STATUS", tmp_path / "none")
    monkeypatch.setattr(measure, "_CLEAR_REFS", tmp_path)
    with Meter() as meter:
        touch(50)
    assert 50 < meter.peak_mib < 1 << 20
