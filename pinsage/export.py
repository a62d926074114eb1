"""The command `export`: a published version in the formats of other systems.

Invariant: as with the other commands, nothing heavy is imported before its body runs.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pinsage.console import (
    AsJson,
    ConfigFile,
    Name,
    Overrides,
    Root,
    Version,
    locate_one,
    print_json,
    read_config,
)


class ExportFormat(StrEnum):
    """What can be written."""

    parquet = "parquet"
    faiss = "faiss"
    usearch = "usearch"
    pgvector = "pgvector"


def export(
    kind: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="parquet: item_id, title, vector. faiss: the version's own index, with ids. "
            "usearch: an HNSW graph. pgvector: a COPY file and the SQL that loads it.",
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder to make; not there yet.")],
    version: Version = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Write a published version for another system, with the catalog's own ids.

    Each export is a folder with an about.json that says how to read it.
    """
    folder, chosen = locate_one(read_config(config_file, overrides), root, name)
    from pinsage.retrieval.exports.folder import check_target
    from pinsage.retrieval.exports.folder import export as write
    from pinsage.retrieval.published import load_published

    check_target(kind.value, to)
    about = write(load_published(folder, chosen, version), kind.value, to, chosen)
    if as_json:
        print_json({**about, "folder": str(to)})
    else:
        items, listed = f"{about['num_items']:,} items", ", ".join(about["files"])
        typer.echo(f"{chosen}: {items} of {about['version']} in {to} ({listed})")
