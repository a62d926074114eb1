"""What stands for a missing value, by kind: the table of docs/features.md, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from pinsage.config import FeatureKind
from pinsage.model.encoder import ItemEncoder
from pinsage.model.features import FeatureSpec

DEGREE = np.array([1, 1, 1, 1])


def encode(kind: FeatureKind, fitted: list[Any], cells: list[Any]) -> Tensor:
    """Encoded cells [N, C] of a column that was fitted on others; every weight is random."""
    frame = pd.DataFrame({"x": pd.Series(fitted)})
    spec = FeatureSpec.fit(frame, DEGREE[: len(frame)], {"x": kind}, separator="|", text_buckets=64)
    encoder = ItemEncoder(spec, channels=4, width=8, num_ids=0, id_dropout=0.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            if "emb" not in name:  # the first row of an embedding stands for a missing value
                weight.normal_(generator=generator)
        later = pd.DataFrame({"x": pd.Series(cells)})
        encoded, names = encoder.columns(spec.transform(later, DEGREE[: len(later)]))
    out: Tensor = encoded[:, names.index("x")]
    return out


def test_a_missing_number_counts_as_the_mean() -> None:
    missing, mean, other = encode("numerical", [1.0, 3.0, 8.0], [None, 4.0, 5.0])
    torch.testing.assert_close(missing, mean)
    assert not torch.allclose(missing, other)


@pytest.mark.parametrize("kind", ["categorical", "multicategorical", "text"])
def test_a_missing_or_unseen_value_of_a_set_is_a_zero_vector(kind: FeatureKind) -> None:
    missing, empty, known = encode(kind, ["a", "b", "a"], [None, "", "a"])
    assert missing.tolist() == empty.tolist() == [0.0] * 4
    assert known.any()


def test_a_missing_vector_counts_as_zeros() -> None:
    missing, zeros, other = encode("embedding", [[1.0, 2.0]], [None, [0.0, 0.0], [0.0, 1.0]])
    assert missing.tolist() == zeros.tolist()
    assert not torch.allclose(missing, other)


def test_a_missing_time_counts_as_the_median() -> None:
    times = ["1990-01-01", "1995-06-07", "2020-01-01"]
    missing, median, other = encode("timestamp", times, [None, times[1], times[2]])
    torch.testing.assert_close(missing, median)
    assert not torch.allclose(missing, other)
