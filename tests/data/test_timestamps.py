"""Times of every declared unit against Python's own calendar."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinsage.config import TimestampUnit
from pinsage.data.times import iso, to_micros
from pinsage.errors import SourceError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TimeUnit = Literal["s", "ms", "us", "ns"]
NOON = 1_577_880_000_000_000  # 2020-01-01 12:00 UTC in µs
ZONES = ("Europe/Berlin", "America/New_York", "Europe/Dublin", "Australia/Lord_Howe", "Asia/Tokyo")


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


def read(values: list[object], unit: TimestampUnit = "iso", timezone: str = "UTC") -> list[int]:
    result: list[int] = to_micros(pa.array(values), unit=unit, timezone=timezone).to_pylist()
    return result


@pytest.mark.parametrize(("unit", "value"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_one_second_is_a_million_microseconds_in_every_unit(
    unit: TimestampUnit, value: int
) -> None:
    assert read([value, -value, 0], unit) == [10**6, -(10**6), 0]
    assert read([str(value), f"+{value}", f" {value} "], unit) == [10**6] * 3
    assert read([float(value)], unit) == [10**6]


def test_fractions_of_seconds_survive_as_floats_decimals_and_text() -> None:
    assert read([1.25, float("nan"), float("inf")], "s") == [1_250_000, None, None]
    assert read([Decimal("1.25"), None], "s") == [1_250_000, None]
    assert read(["1.25", "1e3", ".5", "-2."], "s") == [1_250_000, 10**9, 500_000, -2_000_000]


def test_text_that_is_no_number_is_unreadable() -> None:
    assert read(["", "abc", "0x10", "1_000", "nan", "1 2", None], "s") == [None] * 7


def test_nanoseconds_are_rounded_to_the_nearest_microsecond() -> None:
    assert read([499, 500, 1499, -499, -501], "ns") == [0, 1, 1, 0, -1]


def test_times_of_a_wrong_unit_are_unreadable_rather_than_wrapped_around() -> None:
    # µs declared as seconds: year 50 million.
    assert read([NOON, 2**63 - 1, -(2**63)], "s") == [None, None, None]
    assert read([float(NOON)], "s") == [None]
    assert to_micros(pa.array([2**64 - 1], pa.uint64()), unit="ms").to_pylist() == [None]


def test_iso_text_of_every_common_shape_reads_the_same_moment() -> None:
    shapes = [
        "2020-01-01T12:00:00Z",
        "2020-01-01 12:00:00",
        "2020-01-01T12:00",
        "2020-01-01T13:00:00+01:00",
        "2020-01-01 07:00-0500",
        "20200101T120000",
        " 2020-01-01T12:00:00.000000 ",
        "2020-01-01T12:00:00.000000999Z",
    ]
    assert read([*shapes]) == [NOON] * len(shapes)
    assert read(["2020-01-01"]) == [NOON - 12 * 3600 * 10**6]


def test_text_that_is_no_date_is_unreadable() -> None:
    wrong = ["", "now", "today", "2020", "2020-13-01", "2020-02-30", "1.1.2020", "12:00", "NaT"]
    assert read([*wrong, None]) == [None] * (len(wrong) + 1)


def test_dates_far_from_today_do_not_spoil_their_neighbours() -> None:
    values = ["2020-01-01T12:00:00.123456789", "1500-06-01", "9999-12-31T23:59:59", "0001-01-01"]
    expected = [
        NOON + 123_456,
        *(micros(datetime.fromisoformat(value).replace(tzinfo=UTC)) for value in values[1:]),
    ]
    assert read([*values]) == expected


def test_arrow_times_of_any_unit_and_zone_are_accepted_as_iso() -> None:
    units: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
    for unit, factor in units.items():
        seconds = NOON // 10**6
        naive = pa.array([seconds * factor, None], pa.timestamp(unit))
        placed = naive.cast(pa.timestamp(unit, tz="Asia/Tokyo"))
        assert to_micros(naive, unit="iso").to_pylist() == [NOON, None]
        assert to_micros(placed, unit="iso", timezone="Europe/Berlin").to_pylist() == [NOON, None]
    day = pa.array([date(2020, 1, 1)])
    assert to_micros(day, unit="iso").to_pylist() == [NOON - 12 * 3600 * 10**6]
    assert to_micros(day.cast(pa.date64()), unit="iso").to_pylist()[0] == NOON - 12 * 3600 * 10**6


def test_nanoseconds_before_1970_are_cut_off_downwards() -> None:
    assert to_micros(pa.array([-1], pa.timestamp("ns")), unit="iso").to_pylist() == [-1]


def test_chunked_and_dictionary_columns_are_columns() -> None:
    chunked = pa.chunked_array([["1"], ["2"]])
    assert to_micros(chunked, unit="s").to_pylist() == [10**6, 2 * 10**6]
    assert to_micros(chunked.dictionary_encode(), unit="s").to_pylist() == [10**6, 2 * 10**6]
    assert to_micros(pa.nulls(2), unit="s").to_pylist() == [None, None]
    assert to_micros(pa.array([], pa.string()), unit="iso", timezone="Asia/Tokyo").to_pylist() == []


def test_a_time_that_occurs_twice_is_the_earlier_one() -> None:
    # Berlin set its clocks back from 03:00 to 02:00 on 2021-10-31.
    assert read(["2021-10-31T02:30:00"], timezone="Europe/Berlin") == [
        micros(datetime(2021, 10, 31, 0, 30, tzinfo=UTC))
    ]


def test_a_time_that_the_clocks_skipped_is_the_moment_they_jumped() -> None:
    # From 02:00 to 03:00 on 2021-03-28, which was 01:00 UTC.
    assert read(["2021-03-28T02:30:00"], timezone="Europe/Berlin") == [
        micros(datetime(2021, 3, 28, 1, 0, tzinfo=UTC))
    ]


@settings(deadline=None, max_examples=60)
@given(
    moments=st.lists(st.datetimes(datetime(1975, 1, 1), datetime(2035, 1, 1)), min_size=1),
    zone=st.sampled_from(ZONES),
)
def test_local_times_agree_with_zoneinfo(moments: list[datetime], zone: str) -> None:
    placed = [moment.replace(tzinfo=ZoneInfo(zone)) for moment in moments]
    exists = [p.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(fold=0) == p for p in placed]
    result = read([moment.isoformat() for moment in moments], timezone=zone)
    for found, moment, real in zip(result, placed, exists, strict=True):
        if real:
            assert found == micros(moment.astimezone(UTC))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.datetimes(
            datetime(2, 1, 1),
            datetime(9998, 1, 1),
            timezones=st.integers(-12 * 60, 14 * 60).map(
                lambda minutes: timezone(timedelta(minutes=minutes))
            ),
        ),
        min_size=1,
    )
)
def test_iso_text_with_an_offset_agrees_with_datetime(moments: list[datetime]) -> None:
    assert read([moment.isoformat() for moment in moments]) == [micros(m) for m in moments]


def test_iso_renders_what_to_micros_reads() -> None:
    assert iso(NOON) == "2020-01-01T12:00:00+00:00"
    assert read([iso(NOON + 1), iso(-1)]) == [NOON + 1, -1]


def test_a_type_that_contradicts_the_unit_is_refused_with_the_remedy() -> None:
    with pytest.raises(SourceError, match=r"column 't': is of type timestamp.*'iso'"):
        to_micros(pa.array([datetime(2020, 1, 1)]), unit="s", where="column 't'")
    with pytest.raises(SourceError, match=r"is of type int64.*timestamp_unit = 's'"):
        to_micros(pa.array([1]), unit="iso")


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(SourceError, match="Europe/Atlantis"):
        to_micros(pa.array(["2020-01-01"]), unit="iso", timezone="Europe/Atlantis")
