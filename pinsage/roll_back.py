"""The command `rollback`: readers go back to an earlier version, and what follows them goes along.

The library alone switches the embeddings. `flows` puts the same command in its place, with a
companion that moves the alias of the registered model: both, or neither.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from pinsage.config import Config
from pinsage.console import (
    AsJson,
    ConfigFile,
    Name,
    Overrides,
    Root,
    Yes,
    confirm,
    locate_one,
    print_json,
    read_config,
)

Companion = Callable[[str], AbstractContextManager[None]]
# The companion for a configuration, if one was named, a root and a data set; it adds to the list
# what it has done.
CompanionOf = Callable[[Config | None, Path, str, list[str]], Companion]
Why = Annotated[str, typer.Option(metavar="TEXT", help="The reason, for the history of versions.")]
EmbeddingsOnly = Annotated[
    bool,
    typer.Option("--embeddings-only", help="Leave the registered model's alias where it is."),
]


def rollback_command(companion_of: CompanionOf | None = None) -> Callable[..., None]:
    """The command, with what is to move along with the embeddings."""

    def rollback(
        version: Annotated[
            str | None,
            typer.Argument(metavar="VERSION", help="Version to go back to; else the one before."),
        ] = None,
        why: Why = "",
        embeddings_only: EmbeddingsOnly = False,
        config_file: ConfigFile = None,
        overrides: Overrides = None,
        name: Name = None,
        root: Root = None,
        yes: Yes = False,
        as_json: AsJson = False,
    ) -> None:
        """Make an earlier published version the current one, and its model the champion."""
        effective = read_config(config_file, overrides)
        folder, chosen = locate_one(effective, root, name)
        if not yes:
            confirm(
                "rollback",
                f"Take {chosen} back to {version or 'the version before the current one'}?",
            )
        from pinsage.retrieval.versions import rollback as roll_back

        moved: list[str] = []
        along = None if embeddings_only else companion_of
        companion = along(effective, folder, chosen, moved) if along else None
        current = roll_back(folder, chosen, version, why=why, companion=companion)
        show_current(chosen, current, moved, as_json=as_json)

    return rollback


def show_current(name: str, version: str, moved: list[str], *, as_json: bool) -> None:
    """Say which version readers follow now, and what else has moved."""
    if as_json:
        print_json({"name": name, "version": version, "moved": ["embeddings", *moved]})
    else:
        typer.echo("; ".join([f"{name}: {version} is current now", *moved]))
