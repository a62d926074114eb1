"""Times by declared rule to int64 microseconds since 1970-01-01 UTC; what is unreadable is null.

- `s`, `ms`, `us`, `ns`: numbers (integers, floats, decimals, or strings of them) since the epoch,
  rounded to the nearest µs.
- `iso`: dates, Arrow timestamps of any unit, and ISO 8601 strings; finer than µs is cut off.
  A time with an offset keeps its meaning; one without is in `timezone`.
- A local time that occurs twice (clocks set back) is the earlier one; one that the clocks skipped
  is the moment they jumped.
- Years outside 1 to 9999 are unreadable: they come from a wrong unit.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from pinsage.config import TimestampUnit
from pinsage.data.arrow import Column, pc
from pinsage.errors import SourceError

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EARLIEST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_INTEGER = r"^\s*[+-]?\d{1,18}\s*$"
_FLOAT = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_ISO = r"^\s*\d{4}-?\d\d-?\d\d([T ]\d\d(:?\d\d(:?\d\d([.,]\d+)?)?)?\s?(Z|[+-]\d\d(:?\d\d)?)?)?\s*$"
_OFFSET = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)\s*$"

Micros = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def to_micros(
    column: Column,
    *,
    unit: TimestampUnit,
    timezone: str = "UTC",
    where: str = "timestamps",
) -> Column:
    """`column` as an int64 array of the same length, µs since the epoch, null where unreadable.

    Raises SourceError where the type of the column contradicts `unit`, or `timezone` is unknown.
    """
    column = _plain(column)
    if unit == "iso":
        values, valid = _from_dates(column, _zone(timezone, where), where)
    else:
        values, valid = _from_numbers(column, unit, where)
    valid = valid & (values >= _EARLIEST) & (values <= _LATEST)
    return pa.array(values, pa.int64(), mask=~valid)


def microseconds(moment: datetime) -> int:
    """An aware time as µs since the epoch."""
    return (moment - _EPOCH) // _MICROSECOND


def iso(micros: int) -> str:
    """ISO 8601 text of a time in µs, in UTC."""
    return (_EPOCH + timedelta(microseconds=micros)).isoformat()


def _plain(column: Column) -> Column:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string()) if _is_text(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
    )


def _from_numbers(column: Column, unit: str, where: str) -> tuple[Micros, Mask]:
    if _is_text(column.type):
        return _from_number_strings(column, unit)
    if pa.types.is_integer(column.type):
        return _scale_integers(column, unit)
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return _scale_floats(column, unit)
    raise SourceError(
        f"{where}: is of type {column.type}, where timestamp_unit = {unit!r} expects numbers; "
        f"set timestamp_unit = 'iso' for dates and times"
    )


def _from_number_strings(column: Column, unit: str) -> tuple[Micros, Mask]:
    """Integers exactly, everything else through float64."""
    whole = pc.match_substring_regex(column, _INTEGER)
    number = pc.match_substring_regex(column, _FLOAT)
    bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"^\+", "")
    nothing = pa.scalar(None, pa.string())
    integers = pc.if_else(whole, bare, nothing).cast(pa.int64())
    floats = pc.if_else(pc.and_not(number, whole), bare, nothing).cast(pa.float64())
    exact, is_exact = _scale_integers(integers, unit)
    rough, is_rough = _scale_floats(floats, unit)
    return np.where(is_exact, exact, rough), is_exact | is_rough


def _scale_integers(column: Column, unit: str) -> tuple[Micros, Mask]:
    if pa.types.is_uint64(column.type):
        return _scale_floats(column, unit)  # beyond int64 it is out of range in any unit but ns
    values, valid = _numpy(column.cast(pa.int64()), 0)
    per_second = _PER_SECOND[unit]
    if per_second > 10**6:
        half = per_second // 10**6 // 2
        return (values // 1000) + (values % 1000 >= half), valid
    scaled, inside = _times(values, 10**6 // per_second)
    return scaled, valid & inside


def _times(values: Micros, factor: int) -> tuple[Micros, Mask]:
    """`values * factor`, and where that is no overflow."""
    limit = np.iinfo(np.int64).max // factor
    inside = (values >= -limit) & (values <= limit)
    return np.where(inside, values, 0) * factor, inside


def _scale_floats(column: Column, unit: str) -> tuple[Micros, Mask]:
    values, valid = _numpy(column.cast(pa.float64(), safe=False), 0.0)
    scaled = values * (10**6 / _PER_SECOND[unit])
    inside = np.abs(scaled) < 2.0**62  # also False for NaN and infinity
    return np.rint(np.where(inside, scaled, 0.0)).astype(np.int64), valid & inside


def _from_dates(column: Column, zone: ZoneInfo | None, where: str) -> tuple[Micros, Mask]:
    if _is_text(column.type):
        return _from_iso_strings(column, zone)
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms" if pa.types.is_date64(column.type) else "s"))
    if not pa.types.is_timestamp(column.type):
        raise SourceError(
            f"{where}: is of type {column.type}, where timestamp_unit = 'iso' expects dates or "
            f"ISO 8601 text; set timestamp_unit = 's', 'ms', 'us' or 'ns' for numbers"
        )
    counts, valid = _numpy(column.cast(pa.int64()), 0)
    per_second = _PER_SECOND[column.type.unit]
    if per_second > 10**6:
        micros, inside = counts // (per_second // 10**6), np.ones(len(counts), dtype=bool)
    else:
        micros, inside = _times(counts, 10**6 // per_second)
    if column.type.tz is None:
        micros = _localise(micros, zone)
    return micros, valid & inside


def _from_iso_strings(column: Column, zone: ZoneInfo | None) -> tuple[Micros, Mask]:
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(column), r"([.,]\d{6})\d+", r"\1")
    readable = _true(pc.match_substring_regex(text, _ISO))
    placed = _true(pc.match_substring_regex(text, _OFFSET))
    clean = pc.if_else(pa.array(readable), text, pa.scalar(None, pa.string()))
    times = pd.to_datetime(
        pd.Series(clean.to_numpy(zero_copy_only=False), dtype=object),
        format="ISO8601",
        errors="coerce",
        utc=True,
    )
    valid = times.notna().to_numpy()
    micros = np.where(valid, times.dt.as_unit("us").to_numpy("datetime64[us]").view(np.int64), 0)
    naive = ~placed & valid
    micros[naive] = _localise(micros[naive], zone)
    return micros, valid


def _localise(micros: Micros, zone: ZoneInfo | None) -> Micros:
    """Wall-clock time in `zone`, counted as if it were UTC, to UTC."""
    if zone is None or not len(micros):
        return micros
    # Years 2 to 9998, so that no shift leaves the range of the calendar.
    local = pd.DatetimeIndex(np.clip(micros, _EARLIEST + 10**14, _LATEST - 10**14).view("M8[us]"))
    placed = local.tz_localize(
        zone, ambiguous=np.ones(len(local), dtype=bool), nonexistent="shift_forward"
    )
    return placed.asi8 + (micros - local.asi8)


def _zone(name: str, where: str) -> ZoneInfo | None:
    """The zone, or None for UTC, which needs no database of zones."""
    if name.upper() in ("UTC", "ETC/UTC", "Z"):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise SourceError(
            f"{where}: timezone {name!r} is not known here; expected a name like 'Europe/Berlin' "
            f"(`pip install tzdata` where the system has no database of zones)"
        ) from None


def _numpy(column: Column, fill: int | float) -> tuple[npt.NDArray[Any], Mask]:
    valid = _true(pc.is_valid(column))
    return pc.fill_null(column, fill).to_numpy(zero_copy_only=False), valid


def _true(mask: Column) -> Mask:
    flags: Mask = pc.fill_null(mask, False).to_numpy(zero_copy_only=False)
    return flags
