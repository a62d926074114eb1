"""A night's counts: volumes, newcomers, popularity, features of the catalog, embeddings."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

from pinsage.config import FeatureKind, ItemsConfig
from pinsage.drift.distances import binned, deciles
from pinsage.drift.night import Night
from pinsage.evaluation.metrics import gini

_PAIRS_OF_ITEMS = 20_000
_VALUES = 50  # of a categorical feature; the rest is one bin
_OTHER = "(other)"
_HOUR = 3_600_000_000  # µs
_COUNTED: tuple[FeatureKind, ...] = ("numerical", "categorical", "multicategorical", "timestamp")


def interaction_numbers(interactions: Path, num_items: int, window_hours: int) -> dict[str, float]:
    """Volumes, newcomers and popularity out of an ingest's interactions.parquet.

    The window is the last `window_hours` up to the newest interaction; new is who or what has no
    interaction before it.
    """
    table = pq.read_table(interactions, columns=["user_row", "item_row", "timestamp"])
    user, item, time = (table[name].to_numpy() for name in table.column_names)
    inside = time > time.max() - window_hours * _HOUR
    numbers: dict[str, float] = {"rows": len(time), "items in the catalog": num_items}
    for name, rows in (("users", user), ("items", item)):
        recent, earlier = np.unique(rows[inside]), np.unique(rows[~inside])
        numbers |= {
            f"{name}": len(np.union1d(recent, earlier)),
            f"{name} of the window": len(recent),
            f"share of new {name}": 1.0 - np.isin(recent, earlier).mean(),
        }
    degree = np.bincount(item, minlength=num_items).astype(np.int64)
    top = max(1, num_items // 100)
    return {
        **numbers,
        "rows of the window": int(inside.sum()),
        "gini": gini(degree),
        "share of the top 1 %": float(np.sort(degree)[::-1][:top].sum() / len(item)),
    }


def embedding_numbers(embeddings: Path, seed: int) -> dict[str, float]:
    """Mean length, and mean cosine of random pairs of items, out of embeddings.npy."""
    matrix = np.load(embeddings, mmap_mode="r")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(matrix), _PAIRS_OF_ITEMS)
    second = (first + rng.integers(1, max(len(matrix), 2), len(first))) % len(matrix)
    a, b = (np.asarray(matrix[rows], dtype=np.float64) for rows in (first, second))
    lengths = [np.linalg.norm(each, axis=1) for each in (a, b)]
    product = np.maximum(lengths[0] * lengths[1], 1e-12)
    return {
        "mean length": float(np.mean(lengths)),
        "mean cosine": float(((a * b).sum(axis=1) / product).mean()),
    }


def feature_counts(
    items: pd.DataFrame, declared: ItemsConfig | None, reference: Night | None
) -> tuple[dict[str, list[float]], dict[str, dict[str, int]], dict[str, float]]:
    """Edges, counts and missing shares of the declared features, as `Night` has them.

    With a `reference`, numbers and times are counted between its deciles and categories by its
    values, so that the two can be compared; else by tonight's own, which is what a night is
    remembered by. Of texts and vectors only what is missing counts.
    """
    edges: dict[str, list[float]] = {}
    counts: dict[str, dict[str, int]] = {}
    missing: dict[str, float] = {}
    for name, kind in (declared.features if declared else {}).items():
        missing[name] = float(items[name].isna().mean())
        if kind not in _COUNTED:
            continue
        if kind in ("numerical", "timestamp"):
            values = _numbers(items[name], kind)
            given = reference.edges.get(name) if reference else None
            at = deciles(values) if given is None else np.array(given, dtype=np.float64)
            edges[name] = at.tolist()
            counts[name] = {str(n): int(c) for n, c in enumerate(binned(values, at))}
        else:
            separator = declared.separator if declared and kind == "multicategorical" else None
            known = reference.counts.get(name) if reference else None
            counts[name] = _values(items[name], separator, known)
    return edges, counts, missing


def _numbers(cells: pd.Series, kind: FeatureKind) -> npt.NDArray[np.float64]:
    if kind == "timestamp":
        times = pd.to_datetime(cells, errors="coerce", utc=True)
        seconds = (times - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
        return np.asarray(seconds, dtype=np.float64)
    numbers = pd.to_numeric(cells, errors="coerce")
    return np.asarray(numbers.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float64)


def _values(cells: pd.Series, separator: str | None, known: object) -> dict[str, int]:
    """How often the values that the reference names occur, else the most frequent ones."""
    found: Counter[str] = Counter()
    for cell in cells.dropna():
        parts = [cell] if separator is None else (
            cell.split(separator) if isinstance(cell, str) else list(cell)
        )  # fmt: skip
        found.update(str(part).strip() for part in parts)
    found.pop("", None)
    if isinstance(known, dict):
        kept = [value for value in known if value != _OTHER]
    else:
        kept = [value for value, _ in sorted(found.items(), key=lambda c: (-c[1], c[0]))][:_VALUES]
    counts = {value: found.get(value, 0) for value in kept}
    rest = sum(found.values()) - sum(counts.values())
    return {**counts, _OTHER: rest} if rest or isinstance(known, dict) else counts
