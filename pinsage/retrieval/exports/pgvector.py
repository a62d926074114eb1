"""A table for PostgreSQL with pgvector: a file for COPY, and the SQL that makes and fills it.

In COPY's text format a tab ends a value and a newline a row; those in a title are written with a
backslash, as is the backslash itself. PostgreSQL stores no NUL in a text: U+FFFD stands for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pinsage.errors import ConfigError
from pinsage.retrieval.published import Published

ROWS = "items.copy"
SCRIPT = "load.sql"
_BLOCK = 65_536
_MOST_DIMENSIONS = 16_000  # of pgvector's type
_MOST_INDEXED = 2_000  # of its HNSW
_LONGEST_NAME = 63  # bytes, in PostgreSQL
_ESCAPES = (
    ("\\", "\\\\"),
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    ("\0", "\N{REPLACEMENT CHARACTER}"),
)


def write_pgvector(version: Published, folder: Path, name: str) -> dict[str, Any]:
    """`psql -f load.sql` in the folder makes the table and an HNSW index for `<#>`.

    Raises ConfigError where PostgreSQL cannot hold the ids or the vectors.
    """
    width = int(version.vectors.shape[1])
    if width > _MOST_DIMENSIONS:
        raise ConfigError(
            f"--format pgvector: holds vectors up to {_MOST_DIMENSIONS:,} wide (got {width:,})"
        )
    items = pa.Table.from_pandas(version.items[["item_id", "title"]], preserve_index=False)
    ids = items.column("item_id").combine_chunks()
    whole = pa.types.is_integer(ids.type)
    if not whole and pc.any(pc.match_substring(pc.cast(ids, pa.string()), "\0")).as_py():
        raise ConfigError(
            "--format pgvector: an item_id holds a NUL, which no text of PostgreSQL can; "
            "choose another format"
        )
    with (folder / ROWS).open("wb") as out:
        for first in range(0, len(items), _BLOCK):
            part = items.slice(first, _BLOCK)
            block = np.ascontiguousarray(version.vectors[first : first + _BLOCK])
            _write_rows(part, block, out)
    table = f"{name}_items"
    (folder / SCRIPT).write_text(
        _script(table, "bigint" if whole else "text", width, version.version), encoding="utf-8"
    )
    return {"table": table, "operator": "<#> (the negative inner product)"}


def _write_rows(part: pa.Table, block: Any, out: Any) -> None:
    # Arrow writes the shortest text that gives the same float32.
    texts = pa.array(block.ravel()).cast(pa.string()).to_pylist()
    width = block.shape[1]
    ids, titles = (_escaped(part.column(each)) for each in ("item_id", "title"))
    for row, (item_id, title) in enumerate(zip(ids, titles, strict=True)):
        vector = ",".join(texts[row * width : (row + 1) * width])
        out.write(f"{item_id}\t{title}\t[{vector}]\n".encode())


def _escaped(column: Any) -> list[str]:
    text = pc.cast(column, pa.string())
    for character, escape in _ESCAPES:
        text = pc.replace_substring(text, character, escape)
    return ["\\N" if each is None else each for each in text.to_pylist()]


def _script(table: str, id_type: str, width: int, version: str) -> str:
    if len(table.encode()) > _LONGEST_NAME:
        raise ConfigError(f"--format pgvector: {table!r} is too long for the name of a table")
    quoted = '"' + table.replace('"', '""') + '"'
    comment = f"PinSage embeddings, version {version}".replace("'", "''")
    script = f"""-- psql -f {SCRIPT}, in this folder
\\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE {quoted} (
    item_id {id_type} PRIMARY KEY,
    title text,
    vector vector({width}) NOT NULL
);
COMMENT ON TABLE {quoted} IS '{comment}';
\\copy {quoted} (item_id, title, vector) FROM '{ROWS}' WITH (FORMAT text, ENCODING 'UTF8')
"""
    if width <= _MOST_INDEXED:
        script += f"CREATE INDEX ON {quoted} USING hnsw (vector vector_ip_ops);\n"
    return script + "COMMIT;\n"
