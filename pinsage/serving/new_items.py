"""New items by their features: checked against the model's, and embedded by content alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from pinsage.errors import SourceError
from pinsage.retrieval.published import one_line
from pinsage.serving.messages import Feature, ItemQuery, Value
from pinsage.serving.opened import Opened
from pinsage.serving.refused import RefusedError

if TYPE_CHECKING:
    from pinsage.config import FeatureKind

Vectors = npt.NDArray[np.float32]

_FORMS: dict[FeatureKind, tuple[type | tuple[type, ...], str]] = {
    "numerical": ((int, float, str), "a number"),
    "categorical": ((int, str), "an integer or text"),
    "multicategorical": ((str, list), "a list of texts, or one text with separators"),
    "text": (str, "text"),
    "embedding": (list, "a list of numbers"),
    "timestamp": ((int, float, str), "a time"),
}


def embedded(opened: Opened, queries: Mapping[int, ItemQuery]) -> Vectors:
    """Embeddings of new items, float32 [M, d]; `queries` by their place in the request.

    Raises RefusedError where a feature is not the model's, or not of its kind.
    """
    import pandas as pd

    from pinsage.newcomers import embed_rows

    model = opened.model()
    for place, query in queries.items():
        for name, value in (query.features or {}).items():
            _check(model.spec.content, name, value, f"queries[{place}].features")
    separator = model.spec.separator
    rows = [
        {
            name: _plain(model.spec.content[name], value, separator)
            for name, value in (query.features or {}).items()
        }
        for query in queries.values()
    ]
    try:
        return embed_rows(model, pd.DataFrame(rows, dtype=object))
    except SourceError as error:
        where = ", ".join(f"queries[{place}].features" for place in list(queries)[:5])
        raise RefusedError(
            422, str(error), where, "give each feature in the form that its kind has"
        ) from None


def missing(opened: Opened, query: ItemQuery) -> list[str]:
    """A note on the features that a new item came without."""
    absent = [name for name in opened.model().spec.content if name not in (query.features or {})]
    return [f"treated as missing: {', '.join(absent)}"] if absent else []


def _check(kinds: Mapping[str, FeatureKind], name: str, value: Feature, where: str) -> None:
    shown = one_line(repr(name))
    if name not in kinds:
        listed = ", ".join(f"{each} ({kind})" for each, kind in kinds.items())
        raise RefusedError(
            422, f"{shown} is no feature of the model", where,
            f"give some of its features: {listed}" if kinds
            else "the model knows no features; ask by item_id",
        )  # fmt: skip
    types, form = _FORMS[kinds[name]]
    fits = value is None or (isinstance(value, types) and not isinstance(value, bool))
    if fits and value is not None and kinds[name] == "numerical":
        fits = _is_number(value)
    if fits and isinstance(value, list):
        wanted = (int, float) if kinds[name] == "embedding" else str
        fits = all(isinstance(each, wanted) and not isinstance(each, bool) for each in value)
    if not fits:
        raise RefusedError(
            422, f"feature {shown}: {one_line(repr(value))} for the kind {kinds[name]}", where,
            f"give {form}, or null where it is missing",
        )  # fmt: skip


def _plain(kind: FeatureKind, value: Feature, separator: str) -> Feature:
    """The value in the one form of its kind: a column of several requests has one type."""
    if value is None:
        return None
    if kind == "numerical":
        return float(cast(str, value))
    if kind == "categorical":
        return str(value)
    if kind == "multicategorical" and isinstance(value, str):
        return list[Value](value.split(separator))
    return value


def _is_number(value: Feature) -> bool:
    try:
        return bool(np.isfinite(float(cast(str, value))))
    except (ValueError, OverflowError):
        return False
