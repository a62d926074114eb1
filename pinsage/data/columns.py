"""Columns of a source, whatever their type there, to the types of a snapshot.

Keys (ids and categories) travel as text until the whole table has been seen: only then is it
known whether every one is an integer. "007" is not, because it does not come back as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pinsage.config import FeatureKind
from pinsage.data.arrow import Column, pc
from pinsage.data.times import to_micros
from pinsage.errors import SourceError

_LANDING: dict[FeatureKind, pa.DataType] = {
    "numerical": pa.float64(),
    "categorical": pa.string(),
    "text": pa.string(),
    "embedding": pa.list_(pa.float32()),
    "timestamp": pa.timestamp("us", tz="UTC"),
}
_FLOATS = r"^\s*[\[({]?\s*([+-]?[0-9.][0-9.eE+-]*[\s,;]*)+[\])}]?\s*$"


@dataclass
class Key:
    """A column of ids or categories; `integer` says that all values seen so far are integers.

    `infer` also takes text for integers if it reads the same afterwards (for CSV, which has no
    types); otherwise text stays text.
    """

    where: str
    infer: bool
    integer: bool = True
    seen: bool = False

    def land(self, column: Column) -> Column:
        """`column` as text, nulls kept. Raises SourceError for types that name nothing."""
        column = _decoded(column)
        kind = column.type
        if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            column = _whole(column, self.where)
        elif not _names_something(kind):
            raise SourceError(
                f"{self.where}: is of type {kind}; ids and categories must be integers or text"
            )
        text = _as_text(column, self.where)
        if self.integer and text.null_count < len(text):
            declared = pa.types.is_integer(column.type)
            self.integer = (declared or self.infer) and _round_trips(text)
            self.seen = True
        return text

    @property
    def type(self) -> pa.DataType:
        """int64 if there are values and all are integers, else string."""
        return pa.int64() if self.integer and self.seen else pa.string()


def landing_type(kind: FeatureKind, column: pa.DataType) -> pa.DataType:
    """Type of a feature column in the snapshot; a multicategorical one may be text or a list."""
    if kind != "multicategorical":
        return _LANDING[kind]
    return pa.list_(pa.string()) if _is_list(column) else pa.string()


def land_feature(column: Column, kind: FeatureKind, where: str) -> Column:
    """A feature column of `kind` (not categorical) as `landing_type` says; null if unreadable."""
    column = _decoded(column)
    if kind == "numerical":
        return to_numbers(column, where)
    if kind == "timestamp":
        return to_micros(column, unit="iso", where=where).cast(pa.timestamp("us", tz="UTC"))
    if kind == "embedding":
        return _to_vectors(column, where)
    if _is_list(column.type):
        if kind == "text":
            raise SourceError(f"{where}: is a list, where a feature of kind text expects a string")
        return _cast(column, pa.list_(pa.string()), where)
    return _as_text(column, where)


def to_numbers(column: Column, where: str) -> Column:
    """float64; null where missing, NaN or not a number. Infinities stay, for the contract to see.

    Raises SourceError for types that are no numbers, such as dates and lists.
    """
    column = _decoded(column)
    if pa.types.is_string(column.type):
        number = r"^\s*[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[iI]nf(inity)?)\s*$"
        readable = pc.match_substring_regex(column, number)
        bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")
        column = pc.if_else(readable, bare, pa.scalar(None, pa.string()))
    elif pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
        raise SourceError(f"{where}: is of type {column.type}, where numbers are expected")
    numbers = _cast(column, pa.float64(), where)
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def _to_vectors(column: Column, where: str) -> Column:
    """list<float32>, from lists or from text such as `[0.1, 0.2]` or `0.1 0.2`."""
    if pa.types.is_string(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.string())
        readable = pc.match_substring_regex(column, _FLOATS)
        bare = pc.replace_substring_regex(column, r"[\[\](){}]", "")
        bare = pc.utf8_trim(bare, characters=" \t\r\n,;")
        bare = pc.if_else(readable, bare, pa.scalar(None, pa.string()))
        column = pc.split_pattern_regex(bare, r"[\s,;]+")
    elif not _is_list(column.type):
        raise SourceError(
            f"{where}: is of type {column.type}, where a feature of kind embedding expects lists "
            f"of numbers"
        )
    return _cast(column, pa.list_(pa.float32()), where)


def _decoded(column: Column) -> Column:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _whole(column: Column, where: str) -> Column:
    """Floats that are integers, as pandas stores an integer column with missing values."""
    numbers = pc.if_else(pc.is_nan(column.cast(pa.float64())), pa.scalar(None, column.type), column)
    try:
        return numbers.cast(pa.int64())
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"{where}: holds numbers that are no integers ({error}); ids and categories must be "
            f"integers or text"
        ) from None


def _round_trips(text: Column) -> bool:
    try:
        return bool(pc.all(pc.equal(text.cast(pa.int64()).cast(pa.string()), text)).as_py())
    except pa.ArrowInvalid:
        return False


def _as_text(column: Column, where: str) -> Column:
    return column if pa.types.is_string(column.type) else _cast(column, pa.string(), where)


def _cast(column: Column, kind: pa.DataType, where: str) -> Column:
    try:
        return column.cast(kind, safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = str(error).split("\n")[0]
        raise SourceError(
            f"{where}: of type {column.type} cannot be read as {kind} ({reason}); change the kind "
            f"or the column"
        ) from None


def _names_something(kind: pa.DataType) -> bool:
    return not (pa.types.is_nested(kind) or pa.types.is_temporal(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )
