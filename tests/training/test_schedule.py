"""The learning rate, by hand."""

from __future__ import annotations

import pytest

from pinsage.config import TrainingConfig
from pinsage.training.schedule import learning_rate, peak_rate


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.002),  # 1/4 of the peak after the first of 4 steps of warm-up
        (1, 0.004),
        (3, 0.008),
        (4, 0.008),
        (6, 0.008 * 0.25**0.5),  # half an epoch later
        (8, 0.002),
        (12, 0.0005),
    ],
)
def test_it_rises_for_an_epoch_and_then_falls_by_the_decay_an_epoch(
    step: int, expected: float
) -> None:
    rate = learning_rate(step, peak=0.008, epoch_steps=4, decay=0.25)
    assert rate == pytest.approx(expected, rel=1e-12)


def test_an_epoch_of_one_step_has_no_warm_up() -> None:
    assert learning_rate(0, peak=0.1, epoch_steps=1, decay=0.5) == 0.1


def test_without_decay_it_stays_at_the_peak() -> None:
    assert learning_rate(1000, peak=0.1, epoch_steps=3, decay=1.0) == 0.1


@pytest.mark.parametrize(("rate_batch", "expected"), [(0, 0.002), (512, 0.008), (4096, 0.001)])
def test_the_peak_is_in_proportion_to_the_batch(rate_batch: int, expected: float) -> None:
    config = TrainingConfig(learning_rate=0.002, batch_size=2048, rate_batch=rate_batch)
    assert peak_rate(config) == pytest.approx(expected)
