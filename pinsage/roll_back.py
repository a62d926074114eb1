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
    confirm,
    locate_one,
    print_json,
    read_config,
)

Companion = Callable[[str], AbstractContextManager[None]]
# The companion for a configuration, if one was named, a root and a data set; it adds to the list
# what it has done.
CompanionOf = Callable[[Config | None, Path, str, list[str]], Companion]


def rollback_command(companion_of: CompanionOf | None = None) -> Callable[..., None]:
    """The command, with what is to move along with the embeddings."""

    def rollback(
        version: Annotated[
            str | None,
            typer.Argument(metavar="VERSION", help="Version to go back to; else the one before."),
        ] = None,
        why: Annotated[
            str, typer.Option(metavar="TEXT", help="The reason, for the history of versions.")
        ] = "",
        embeddings_only: Annotated[
            bool,
            typer.Option(
                "--embeddings-only", help="Leave the registered model's alias where it is."
            ),
        ] = False,
        config_file: ConfigFile = None,
        overrides: Overrides = None,
        name: Name = None,
        root: Root = None,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
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
        companion = None
        if companion_of is not None and not embeddings_only:
            companion = companion_of(effective, folder, chosen, moved)
        current = roll_back(folder, chosen, version, why=why, companion=companion)
        if as_json:
            print_json({"name": chosen, "version": current, "moved": ["embeddings", *moved]})
        else:
            typer.echo("; ".join([f"{chosen}: {current} is current now", *moved]))

    return rollback
