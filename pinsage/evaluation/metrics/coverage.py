"""Catalog coverage: how much of the catalog is ever shown (Ge et al., RecSys 2010)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def coverage(shown: npt.NDArray[np.int64]) -> float:
    """Share of items shown at least once; `shown` int64 [N] counts the lists an item is in."""
    return float((shown > 0).mean()) if len(shown) else 0.0
