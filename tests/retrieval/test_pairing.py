"""The turn before short codes: orthogonal, and even in what each code has to stand for."""

from __future__ import annotations

import numpy as np
import pytest

from pinsage.retrieval.pairing import balancing_turn


@pytest.mark.parametrize(("width", "parts"), [(8, 4), (9, 3), (7, 7), (6, 1)])
def test_is_orthogonal(width: int, parts: int) -> None:
    residuals = np.random.default_rng(0).normal(size=(50, width)).astype(np.float32)
    turn = balancing_turn(residuals, parts)
    np.testing.assert_allclose(turn @ turn.T, np.eye(width), atol=1e-5)


def test_the_strongest_axis_is_paired_with_the_weakest() -> None:
    spread = np.array([8, 1, 4, 2], dtype=np.float32)
    residuals = np.concatenate([np.diag(spread), -np.diag(spread)])
    turn = np.abs(balancing_turn(residuals, 2)).round(5)
    pairs = {frozenset(np.flatnonzero(turn[rows].sum(axis=0))) for rows in ([0, 1], [2, 3])}
    assert pairs == {frozenset([0, 1]), frozenset([2, 3])}  # 8 with 1, 4 with 2


def test_nothing_to_code_is_no_error() -> None:
    turn = balancing_turn(np.zeros((5, 4), dtype=np.float32), 2)
    np.testing.assert_allclose(turn @ turn.T, np.eye(4), atol=1e-6)
