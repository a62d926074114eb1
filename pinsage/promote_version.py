"""The command `promote`: readers go on to a published version that the gate held back.

As for `rollback`, `flows` puts the same command in its place, with a companion that moves the alias
of the registered model: both, or neither.
"""

from __future__ import annotations

from collections.abc import Callable
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
    read_config,
    root_of,
)
from pinsage.errors import PublishError
from pinsage.roll_back import CompanionOf, EmbeddingsOnly, Why, show_current


def promote_command(companion_of: CompanionOf | None = None) -> Callable[..., None]:
    """The command, with what is to move along with the embeddings."""

    def promote(
        version: Annotated[str, typer.Argument(metavar="VERSION", help="A published version.")],
        why: Why = "",
        force: Annotated[
            bool,
            typer.Option(
                "--force",
                help="Also one that the gate refused or never saw, or that is older than the "
                "current; it is logged.",
            ),
        ] = False,
        embeddings_only: EmbeddingsOnly = False,
        config_file: ConfigFile = None,
        overrides: Overrides = None,
        name: Name = None,
        root: Root = None,
        yes: Yes = False,
        as_json: AsJson = False,
    ) -> None:
        """Make a version that waits or was refused the current one, and its model the champion."""
        effective = read_config(config_file, overrides)
        folder, chosen = _place(effective, root, name)
        _check_forward(folder, chosen, version, force=force)
        if not yes:
            confirm("promote", f"Switch the readers of {chosen} to {version}?")
        from pinsage.retrieval.publish import promote as switch

        moved: list[str] = []
        along = None if embeddings_only else companion_of
        companion = along(effective, folder, chosen, moved) if along else None
        switch(folder, chosen, version, why=why, force=force, companion=companion)
        show_current(chosen, version, moved, as_json=as_json)

    return promote


def _place(config: Config | None, root: Path | None, name: str | None) -> tuple[Path, str]:
    """The root and the data set, also one of which nothing is current yet."""
    chosen = name or (config.name if config else None)
    if chosen is None:
        return locate_one(config, root, name)
    return root_of(config, root), chosen


def _check_forward(root: Path, name: str, version: str, *, force: bool) -> None:
    """Raise PublishError where going to the version is going back."""
    from pinsage.retrieval.versions import list_versions, named_version

    named_version(root, name, version)
    known = {each.version: each for each in list_versions(root, name)}
    back = f"`pinsage rollback {version} --name {name}` goes to it"
    if version in known and known[version].withdrawn:
        raise PublishError(
            f"{version} was rolled back, and promoting does not return to it: {back}"
        )
    current = next((each.version for each in known.values() if each.current), "")
    if version < current and not force:
        raise PublishError(
            f"{version} is older than {current}, which readers follow: {back}, or add --force"
        )
