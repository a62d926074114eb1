"""The command `embed-new`: items that the catalog has not, embedded by the published model.

Invariant: as with the other commands, nothing heavy is imported before its body runs.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    warn,
)

if TYPE_CHECKING:
    from pinsage.newcomers import Embedded
    from pinsage.retrieval.published import Neighbour


def embed_new(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Parquet, CSV or JSON lines (.jsonl): item_id, the feature columns of the "
            "catalog, and user_ids where the items have first users.",
        ),
    ],
    k: Annotated[int, typer.Option("--count", "-k", min=1, help="Related items to show.")] = 10,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write item_id, title and vector to a Parquet file."),
    ] = None,
    version: Version = None,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Embed items that the published catalog has not, and show what is related to them.

    Nothing is trained: the model goes by their features, and by the walks from their users.
    """
    folder, chosen = locate_one(read_config(config_file, overrides), root, name)
    from pinsage.newcomers import check_target, embed_file, write_vectors
    from pinsage.retrieval.published import load_published

    if out is not None:
        check_target(out)
    opened = load_published(folder, chosen, version)
    embedded = embed_file(folder, opened, file)
    related = [opened.nearest(vector, k) for vector in embedded.vectors]
    for note in embedded.notes:
        warn(note)
    if out is not None:
        write_vectors(embedded, out)
    if as_json:
        print_json(_document(chosen, opened.version, embedded, related))
    else:
        from pinsage.display import show_new_items

        show_new_items(chosen, opened.version, embedded, related)


def _document(
    name: str, version: str, embedded: Embedded, related: list[list[Neighbour]]
) -> dict[str, Any]:
    ids, titles = (embedded.items[column].tolist() for column in ("item_id", "title"))
    rows = zip(ids, titles, embedded.num_users, related, strict=True)
    return {
        "name": name,
        "version": version,
        "new_items": [
            {
                "item": {"item_id": item_id, "title": title},
                "num_users": users,
                "related": [asdict(neighbour) for neighbour in neighbours],
            }
            for item_id, title, users, neighbours in rows
        ],
    }
