"""A catalog with one feature, enough to build models on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from torch_frame.data import TensorFrame

from pinsage.model.features import FeatureSpec

DEGREE = np.array([3, 0, 1, 4, 2])
CATALOG = pd.DataFrame({"brand": ["a", "b", None, "a", "c"]})


@pytest.fixture
def spec() -> FeatureSpec:
    return FeatureSpec.fit(CATALOG, DEGREE, {"brand": "categorical"}, separator="|", text_buckets=8)


@pytest.fixture
def features(spec: FeatureSpec) -> TensorFrame:
    """Five items."""
    return spec.transform(CATALOG, DEGREE)
