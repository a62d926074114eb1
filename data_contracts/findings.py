"""What the contracts found, as plain JSON values: breaches, and flaws that are tolerated.

A finding names the table, expectation, column, count and up to 20 offending rows. Values from the
data are text of one line without control characters, cut to a bounded length, so that a hostile
or huge title cannot break a terminal, a log or a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationValidationResult

from data_contracts.runner import MAX_ROWS, Checked
from data_contracts.tables import Table

_MAX_TEXT = 120


class Finding(TypedDict):
    """An expectation that did not hold, or held within a tolerance."""

    table: str
    expectation: str
    column: str | None
    found: str
    expected: str
    count: int | None
    rows: list[dict[str, str]]
    hint: str


def findings(checks: Iterable[Checked]) -> tuple[list[Finding], list[Finding]]:
    """Breaches, and flaws that are tolerated: warnings, and offending rows within a limit."""
    breaches: list[Finding] = []
    tolerated: list[Finding] = []
    for checked in checks:
        for result in checked.result.results:
            if not result.success and _critical(result):
                breaches.append(_finding(checked.table, result))
            elif not result.success or result.result.get("unexpected_count"):
                tolerated.append(_finding(checked.table, result))
    return breaches, tolerated


def report(checks: Iterable[Checked]) -> list[dict[str, Any]]:
    """Every expectation with its outcome, in the order of the suites."""
    return [
        {
            "suite": checked.result.suite_name,
            "success": bool(result.success),
            "critical": _critical(result),
            **_finding(checked.table, result),
        }
        for checked in checks
        for result in checked.result.results
    ]


def text(value: Any) -> str:
    """One printable line of at most 120 characters; control characters are escaped."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return "missing"
    if isinstance(value, float):  # pandas writes a column of integers with gaps as floats
        value = int(value) if value.is_integer() and abs(value) < 2**53 else f"{value:.12g}"
    line = str(value)[: _MAX_TEXT + 1]
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    return line if len(line) <= _MAX_TEXT else f"{line[: _MAX_TEXT - 1]}…"


def exception(result: ExpectationValidationResult) -> str:
    """Why an expectation could not be checked; empty where it was."""
    info = result.exception_info or {}
    # Great Expectations gives one description, or one for each metric that failed.
    for each in [info, *(value for value in info.values() if isinstance(value, dict))]:
        if each.get("raised_exception"):
            return str(each.get("exception_message"))
    return ""


def _finding(table: Table, result: ExpectationValidationResult) -> Finding:
    config: Any = result.expectation_config  # there for every result of a suite
    meta = config.meta or {}
    return {
        "table": table.name,
        "expectation": config.type,
        "column": meta.get("about"),
        "found": _found(result),
        "expected": config.description or config.type,
        "count": None if table.facts else result.result.get("unexpected_count"),
        "rows": _rows(table, config.kwargs.get("column"), result),
        "hint": meta.get("hint", ""),
    }


def _critical(result: ExpectationValidationResult) -> bool:
    config = result.expectation_config
    return config is None or config.severity == "critical"


def _found(result: ExpectationValidationResult) -> str:
    problem = exception(result)
    if problem:
        return f"could not be checked ({text(problem)})"
    outcome = result.result
    if outcome.get("element_count") is not None:
        total = outcome["element_count"]
        count = outcome["unexpected_count"]
        return f"{count:,} of {total:,} rows ({100 * count / max(total, 1):.3g}%)"
    observed = outcome.get("observed_value", "it is there" if result.success else "no such column")
    return ", ".join(map(text, observed)) if isinstance(observed, list) else text(observed)


def _rows(
    table: Table, column: str | None, result: ExpectationValidationResult
) -> list[dict[str, str]]:
    rows = result.result.get("unexpected_rows")
    if table.facts or not isinstance(rows, pd.DataFrame):
        return []
    names = list(dict.fromkeys((*table.identity, column)))
    shown = [name for name in names if name in rows and rows[name].dtype != bool]
    return [
        {str(name): _cell(str(name), value) for name, value in zip(shown, row, strict=True)}
        for row in rows[shown].head(MAX_ROWS).itertuples(index=False, name=None)
    ]


def _cell(name: str, value: Any) -> str:
    line = text(value)
    if name == "timestamp" and line.lstrip("-").isdigit():
        return str(np.datetime64(int(line), "us")).removesuffix(".000000") + "Z"
    return line
