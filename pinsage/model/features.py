"""What the item features look like, fitted once and kept with the model as JSON.

A `FeatureSpec` turns a catalog into a pytorch-frame `TensorFrame`; the same spec serves items
that come later. Log degree, the paper's graph feature, is the column `LOG_DEGREE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import torch
import torch_frame
from torch import Tensor
from torch_frame.data import MultiEmbeddingTensor, MultiNestedTensor, TensorFrame
from torch_frame.data.stats import StatType, compute_col_stats

from pinsage.config import FeatureKind
from pinsage.errors import TrainingError
from pinsage.graph.neighbourhoods import Degree
from pinsage.model.bags import hashed_text, known_values, vocabulary_of
from pinsage.model.text import HASHED, TextEncoder
from pinsage.model.text_vectors import TextVectors, vectors_of

LOG_DEGREE = "log(1 + degree)"

_STYPE: dict[str, torch_frame.stype] = {
    "numerical": torch_frame.numerical,
    "categorical": torch_frame.categorical,
    "multicategorical": torch_frame.multicategorical,
    "text": torch_frame.multicategorical,  # a bag of hashed n-grams, or else an embedding
    "embedding": torch_frame.embedding,
    "timestamp": torch_frame.timestamp,
}


@dataclass(frozen=True)
class FeatureSpec:
    """Columns with their kinds, and the statistics fitted on the catalog.

    `stats` holds by column: for `categorical` and `multicategorical` the vocabulary, for
    `numerical` mean and std, for `timestamp` pytorch-frame's statistics, for `embedding` the
    dimension, for `text` the encoder.
    """

    columns: dict[str, FeatureKind]
    separator: str
    text_buckets: int
    stats: dict[str, dict[str, Any]]

    @classmethod
    def fit(
        cls,
        items: pd.DataFrame,
        degree: Degree,
        kinds: Mapping[str, FeatureKind],
        *,
        separator: str,
        text_buckets: int,
        text_encoder: TextEncoder = HASHED,
    ) -> FeatureSpec:
        """Fit on a catalog of N items and their degrees [N].

        `text_encoder` is that of all text columns. Raises TrainingError where a column has no
        usable value.
        """
        columns: dict[str, FeatureKind] = {**kinds, LOG_DEGREE: "numerical"}
        frame = _with_degree(items, degree, columns)
        stats = {c: _fit_column(frame[c], c, kind, separator) for c, kind in columns.items()}
        texts = {c: asdict(text_encoder) for c, kind in columns.items() if kind == "text"}
        return cls(columns, separator, text_buckets, stats | texts)

    def transform(
        self,
        items: pd.DataFrame,
        degree: Degree,
        texts: TextVectors | None = None,
    ) -> TensorFrame:
        """Encode N items as a TensorFrame of N rows; values never seen count as missing.

        `texts` is where vectors of texts come from; without it, the installed sentence model.
        Raises TrainingError where a column is not there, and for text columns with a sentence
        model what `texts` raises.
        """
        frame = _with_degree(items, degree, self.columns)
        feats: dict[torch_frame.stype, list[Any]] = {}
        for column in self._ordered():
            encoded = self._encode(frame[column], column, texts)
            feats.setdefault(self._stype(column), []).append(encoded)
        merged = {stype: _merge(stype, parts) for stype, parts in feats.items()}
        return TensorFrame(merged, self.col_names_dict)

    @property
    def content(self) -> dict[str, FeatureKind]:
        """The feature columns of a catalog; the degree is no content."""
        return {column: kind for column, kind in self.columns.items() if column != LOG_DEGREE}

    @property
    def col_names_dict(self) -> dict[torch_frame.stype, list[str]]:
        """Column names by pytorch-frame type."""
        names: dict[torch_frame.stype, list[str]] = {}
        for column in self._ordered():
            names.setdefault(self._stype(column), []).append(column)
        return names

    @property
    def col_stats(self) -> dict[str, dict[StatType, Any]]:
        """Statistics in the shape that pytorch-frame's encoders take."""
        return {column: self._stats_of(column) for column in self.columns}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> FeatureSpec:
        """Inverse of `to_dict`. Raises ValueError where a text column's encoder is unknown."""
        spec = cls(**tree)
        for column, kind in spec.columns.items():
            if kind == "text":
                spec.text_encoder(column)
        return spec

    def text_encoder(self, column: str) -> TextEncoder:
        """What encodes a text column."""
        return TextEncoder.of(self.stats[column])

    def _ordered(self) -> list[str]:
        return sorted(self.columns)

    def _stype(self, column: str) -> torch_frame.stype:
        kind = self.columns[column]
        if kind == "text" and not self.text_encoder(column).is_hashed:
            return torch_frame.embedding
        return _STYPE[kind]

    def _encode(self, cells: pd.Series, column: str, texts: TextVectors | None) -> Any:
        kind = self.columns[column]
        if kind == "text":
            encoder = self.text_encoder(column)
            if encoder.is_hashed:
                return hashed_text(cells, self.text_buckets)
            return _embeddings(vectors_of(cells, encoder, texts))
        if kind == "multicategorical":
            return known_values(cells, self.stats[column]["vocabulary"], self.separator)
        if kind == "categorical":
            positions = pd.Index(self.stats[column]["vocabulary"]).get_indexer(_as_text(cells))
            return torch.from_numpy(positions.astype(np.int64))
        if kind == "numerical":
            return torch.from_numpy(_as_number(cells).to_numpy(copy=True))
        if kind == "timestamp":
            return _calendar(_as_time(cells), self.stats[column]["YEAR_RANGE"][0])
        return _embeddings(_vectors(cells, column, self.stats[column]["dim"]))

    def _stats_of(self, column: str) -> dict[StatType, Any]:
        kind, stats = self.columns[column], self.stats[column]
        if kind == "text" and self.text_encoder(column).is_hashed:
            return {StatType.MULTI_COUNT: (range(self.text_buckets), [])}
        if kind == "multicategorical":
            return {StatType.MULTI_COUNT: (stats["vocabulary"], [])}
        if kind == "categorical":
            return {StatType.COUNT: (stats["vocabulary"], [])}
        if kind in ("embedding", "text"):
            return {StatType.EMB_DIM: stats["dim"]}
        loaded = {StatType[name]: value for name, value in stats.items()}
        if kind == "timestamp":
            years = StatType.YEAR_RANGE
            return {k: v if k is years else torch.tensor(v) for k, v in loaded.items()}
        return loaded


def _fit_column(cells: pd.Series, column: str, kind: FeatureKind, separator: str) -> dict[str, Any]:
    readable = {"numerical": _as_number, "timestamp": _as_time}.get(kind, pd.Series.copy)(cells)
    if readable.isna().all():
        raise TrainingError(
            f"feature {column!r}: every value is missing or not {kind}; remove it from "
            f"data.items.features, or declare another kind"
        )
    fitters: dict[str, Callable[[], dict[str, Any]]] = {
        "text": dict,
        "multicategorical": lambda: {"vocabulary": vocabulary_of(cells, separator)},
        "categorical": lambda: {"vocabulary": sorted(_as_text(cells).dropna().unique())},
        "embedding": lambda: {"dim": _dimension(cells, column)},
        "numerical": lambda: _number_stats(readable),
        "timestamp": lambda: _time_stats(readable),
    }
    return fitters[kind]()


def _number_stats(numbers: pd.Series) -> dict[str, Any]:
    stats = {k.name: v for k, v in compute_col_stats(numbers, torch_frame.numerical).items()}
    # Dividing by the spread of a constant column would throw a later, other value millions away.
    return stats if stats["STD"] > 0 else {**stats, "STD": 1.0}


def _time_stats(times: pd.Series) -> dict[str, Any]:
    known = times.dropna().sort_values()
    first, last = int(known.dt.year.min()), int(known.dt.year.max())
    calendar = _calendar(known, first).tolist()
    return {
        "YEAR_RANGE": [first, last],
        "OLDEST_TIME": calendar[0],
        "MEDIAN_TIME": calendar[len(calendar) // 2],
        "NEWEST_TIME": calendar[-1],
    }


def _calendar(times: pd.Series, first_year: int) -> Tensor:
    """Int64 [N, 7], the parts of a time as pytorch-frame counts them; -1 where missing.

    Its encoder refuses years before the first one fitted, so older times get that year.
    """
    at = times.dt
    date = (at.year.clip(lower=first_year), at.month - 1, at.day - 1, at.day_of_week)
    parts = (*date, at.hour, at.minute, at.second)
    columns = [part.fillna(-1).to_numpy(dtype=np.int64) for part in parts]
    return torch.from_numpy(np.stack(columns, axis=1))


def _with_degree(items: pd.DataFrame, degree: Degree, columns: Iterable[str]) -> pd.DataFrame:
    absent = [column for column in columns if column not in {*items.columns, LOG_DEGREE}]
    if absent:
        raise TrainingError(
            f"the catalog has no column {absent[0]!r} (it has {', '.join(map(str, items))}); "
            f"correct data.items.features, or bring the column back"
        )
    return items.assign(**{LOG_DEGREE: np.log1p(degree).astype(np.float32)})


def _as_text(cells: pd.Series) -> pd.Series:
    return cells.map(_label, na_action="ignore").astype("object")


def _label(cell: Any) -> str:
    # A column of integers becomes one of floats as soon as one of them is missing.
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def _as_number(cells: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(cells, errors="coerce").astype("float32")
    return numbers.where(np.isfinite(numbers))


def _as_time(cells: pd.Series) -> pd.Series:
    times = pd.to_datetime(cells, utc=True, errors="coerce", format="mixed")
    return times.dt.tz_localize(None)


def _dimension(cells: pd.Series, column: str) -> int:
    shapes = {np.shape(cell) for cell in cells.dropna()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise TrainingError(
            f"feature {column!r}: embeddings must all be lists of one length (got shapes "
            f"{sorted(shapes)[:5]}); mend the column, or declare another kind"
        )
    return int(shapes.pop()[0])


def _vectors(cells: pd.Series, column: str, dim: int) -> npt.NDArray[np.float32]:
    if isinstance(cells.dtype, pd.ArrowDtype):
        lists: Any = pa.chunked_array(cells.array.__arrow_array__()).combine_chunks()
        if not lists.null_count and (lists.value_lengths().to_numpy() == dim).all():
            flat: npt.NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=False)
            return flat.astype(np.float32).reshape(-1, dim)
        cells = pd.Series(lists.to_pandas().to_numpy(), index=cells.index)
    values = np.zeros((len(cells), dim), dtype=np.float32)  # a missing vector is all zeros
    for row, cell in enumerate(cells):
        if np.ndim(cell) == 0 and pd.isna(cell):
            continue
        if np.shape(cell) != (dim,):
            raise TrainingError(
                f"feature {column!r}, row {cells.index[row]}: expected a list of {dim} numbers "
                f"(got shape {np.shape(cell)}); mend the cell"
            )
        values[row] = cell
    return values


def _embeddings(values: np.ndarray[Any, np.dtype[np.float32]]) -> MultiEmbeddingTensor:
    num_rows, dim = values.shape
    return MultiEmbeddingTensor(
        num_rows=num_rows,
        num_cols=1,
        values=torch.from_numpy(values),
        offset=torch.tensor([0, dim]),
    )


def _merge(stype: torch_frame.stype, parts: list[Any]) -> Any:
    if stype == torch_frame.multicategorical:
        return MultiNestedTensor.cat(parts, dim=1)
    if stype == torch_frame.embedding:
        return MultiEmbeddingTensor.cat(parts, dim=1)
    return torch.stack(parts, dim=1)
