"""Numbers and other people's text as a page shows them.

A title is anybody's text: here it becomes one line of bounded length in which nothing can move a
cursor, reverse what stands beside it or hide. Escaping is the template's work, not done here.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

NOTHING = "–"
MINUS = "\u2212"
# C0 and C1 controls, line and paragraph separators, and the characters that embed, override or
# isolate a direction (Unicode TR 9, section 2). Joiners stay: emoji and Persian need them.
_UNSAFE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(value: Any, width: int = 120) -> str:
    """Text on one line, cut to `width` characters; what is not to be shown becomes `\ufffd`."""
    # Cut before the work as well as after: a value may be huge.
    line = " ".join(_UNSAFE.sub("\ufffd", str(value)[: 4 * width]).split())
    return line if len(line) <= width else f"{line[: width - 1].rstrip()}…"


def is_missing(value: float | None) -> bool:
    """Whether there is no number: None, NaN or infinite."""
    return value is None or not math.isfinite(value)


def percent(share: float | None) -> str:
    """A share with one decimal: 0.474 is `47.4 %`."""
    return NOTHING if share is None or is_missing(share) else f"{_signed(100 * share, 1)} %"


def points(difference: float, *, sign: bool = False) -> str:
    """A difference of shares in percentage points, one decimal: 0.041 is `4.1`, or `+4.1`."""
    return _signed(100 * difference, 1, plus=sign)


def decimal(value: float | None, *, sign: bool = False) -> str:
    """Three significant digits of a number below 1, as tables of metrics have it: `.0395`."""
    if value is None or is_missing(value):
        return NOTHING
    places = 3 if abs(value) >= 0.0995 else 4
    text = f"{abs(value):.{places}f}"
    text = text.removeprefix("0") if abs(value) < 1 and float(text) < 1 else text
    negative = value < 0 and float(text) != 0
    return f"{MINUS if negative else '+' if sign else ''}{text}"


def fixed(value: float | None, places: int = 2) -> str:
    """A number with a fixed count of decimals."""
    return NOTHING if value is None or is_missing(value) else _signed(value, places)


def count(number: int | float | None) -> str:
    """A whole number with separators: 1682 is `1,682`."""
    return NOTHING if number is None or is_missing(number) else f"{number:,.0f}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """`1 pair`, `2,320 pairs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(seconds: float | None) -> str:
    """A time in the unit that fits: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds is None or is_missing(seconds):
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def memory(mebibytes: float | None) -> str:
    """A size in the unit that fits: `310 MiB`, `1.4 GiB`."""
    if mebibytes is None or is_missing(mebibytes):
        return NOTHING
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1000 else f"{mebibytes:.0f} MiB"


def moment(iso: str | None) -> str:
    """A time of ISO 8601 to the minute, `1998-04-22 23:10 UTC`; other text as it is."""
    if not iso:
        return NOTHING
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return one_line(iso)
    zone = parsed.tzname() or ""
    return f"{parsed:%Y-%m-%d %H:%M} {zone}".strip()


def day(iso: str | None) -> str:
    """The day of a time of ISO 8601, `1998-04-22`."""
    return moment(iso)[:10] if iso else NOTHING


def column_name(name: str) -> str:
    """A column as people call it: without the type that RecBole's atomic files append to it."""
    return one_line(re.sub(r":(token|float)(_seq)?$", "", name), 40)


def listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _signed(value: float, places: int, *, plus: bool = False) -> str:
    text = f"{abs(value):,.{places}f}"
    if float(text.replace(",", "")) == 0:
        return text
    return f"{MINUS if value < 0 else '+' if plus else ''}{text}"
