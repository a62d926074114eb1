"""JSON lines: one object a line, its keys the columns. For small files, which are read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from pinsage.errors import SourceError


def read_json_lines(file: Path) -> pa.Table:
    """All rows; a key that a line lacks is null there. Empty lines are passed over.

    Raises SourceError naming the line that is no object, or the column of mixed types.
    """
    rows = _rows(file)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(file, name, rows) for name in names})


def _rows(file: Path) -> list[dict[str, Any]]:
    rows = []
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{file}: cannot be read as UTF-8 text ({error}); mend it") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise SourceError(
                f"{file}, line {number:,}: is no JSON ({error}); expected one object a line, like "
                f'{{"item_id": 7, "title": "…"}}'
            ) from None
        if not isinstance(row, dict):
            raise SourceError(
                f"{file}, line {number:,}: holds {type(row).__name__}; expected one object a line"
            )
        rows.append(row)
    return rows


def _column(file: Path, name: str, rows: list[dict[str, Any]]) -> Any:
    try:
        return pa.array([row.get(name) for row in rows])
    except (pa.ArrowException, OverflowError) as error:
        raise SourceError(
            f"{file}: column {name!r}: holds values of different types ({error}); write them all "
            f"as one"
        ) from None
