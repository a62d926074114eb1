"""What two items have in common by content: the features that the model sees, side by side."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from pinsage.config import FeatureKind
from pinsage.explain.parts import FeaturePair
from pinsage.model.bags import values_of
from pinsage.model.features import FeatureSpec

_WORD = re.compile(r"\w+")


def compare_features(
    items: pd.DataFrame, spec: FeatureSpec, query: int, item: int
) -> tuple[FeaturePair, ...]:
    """Every feature column of both items, in the order of the configuration.

    The degree is no content; the shared contexts tell of it.
    """
    return tuple(
        compare_cells(column, kind, *items[column].iloc[[query, item]], separator=spec.separator)
        for column, kind in spec.content.items()
    )


def compare_cells(
    column: str, kind: FeatureKind, query: Any, item: Any, *, separator: str
) -> FeaturePair:
    """One feature of both items; a value that is missing is shared with none."""
    left, right = _plain(query), _plain(item)
    if left is None or right is None or kind in ("numerical", "timestamp"):
        return FeaturePair(column, kind, left, right, None, None)
    if kind == "embedding":
        return FeaturePair(column, kind, None, None, None, _cosine(left, right))
    mine, theirs = (_values(kind, cell, separator) for cell in (left, right))
    either = mine | theirs
    alike = len(mine & theirs) / len(either) if either else None
    return FeaturePair(column, kind, left, right, tuple(sorted(mine & theirs)), alike)


def _values(kind: FeatureKind, cell: Any, separator: str) -> set[str]:
    if kind == "text":
        return set(_WORD.findall(str(cell).lower()))
    return set(values_of(cell, separator)) if kind == "multicategorical" else {str(cell)}


def _plain(cell: Any) -> Any:
    """A cell as JSON has it: numbers, text, lists; None for every kind of missing value."""
    if np.ndim(cell) > 0:
        return np.asarray(cell).tolist()
    if pd.isna(cell):
        return None
    if isinstance(cell, np.generic):
        cell = cell.item()
    if isinstance(cell, float) and not np.isfinite(cell):
        return None
    return cell if isinstance(cell, bool | int | float | str) else str(cell)


def _cosine(left: list[float], right: list[float]) -> float:
    a, b = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norm if norm else 0.0
