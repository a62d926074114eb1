"""A promotion or a rollback moves the alias `champion` with the readers: both, or neither.

The alias goes first and comes back where the readers cannot follow. A kill in between leaves the
alias ahead: the same promotion or rollback again, or the next night's registration, mends it.

Invariant: importing this module costs nothing; MLflow is imported when something is to move.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from pinsage.config import Config
from pinsage.errors import PublishError
from pinsage.roll_back import Companion

# A rollback is in a hurry: MLflow's own patience is minutes.
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}


class AliasError(PublishError):
    """MLflow did not move the alias, so that readers were not switched either."""


def companion(config: Config | None, root: Path, name: str, moved: list[str]) -> Companion:
    """Moves the alias when it is entered, and back where what follows fails."""

    def moves_along(version: str) -> AbstractContextManager[None]:
        return _alias_moved(config, root, name, version, moved)

    return moves_along


@contextmanager
def _alias_moved(
    config: Config | None, root: Path, name: str, version: str, moved: list[str]
) -> Iterator[None]:
    from flows.registration import CHAMPION
    from flows.tracking import FAILURES, Link, reason_of

    uri, model = _registry(config, root, name)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        yield  # nothing was ever registered here
        return
    with _impatiently():
        try:
            client = Link(uri).client
            number = _number_of(client, model, version)
            before = _alias(client, model, CHAMPION) if number else None
            if number:
                client.set_registered_model_alias(model, CHAMPION, number)
        except FAILURES as error:
            raise AliasError(
                f"MLflow at {_without_secrets(uri)} did not move the alias {CHAMPION} of {model} "
                f"({reason_of(error)}), so the embeddings were not moved either: run it again when "
                f"MLflow answers, or move the embeddings alone to {version} with --embeddings-only "
                f"of `pinsage promote` or `pinsage rollback`"
            ) from None
    try:
        yield
    except BaseException:
        if number and not before:
            client.delete_registered_model_alias(model, CHAMPION)
        elif before and before != number:
            client.set_registered_model_alias(model, CHAMPION, before)
        raise
    if number:
        moved.append(f"models:/{model}@{CHAMPION} is its version {number}")


def _registry(config: Config | None, root: Path, name: str) -> tuple[str, str]:
    """MLflow's address and the model's name: as configured, else as they were when registering."""
    from flows.registration import model_name, registered_as
    from flows.tracking import tracking_uri, tracking_uri_of

    if config is not None:
        return tracking_uri(config), model_name(config)
    then = registered_as(root, name)
    return tracking_uri_of(root, then.get("uri", "")), then.get("model") or f"pinsage-{name}"


def _number_of(client: Any, model: str, version: str) -> str | None:
    """The registered version of a published one; None where there is no such model at all.

    Raises PublishError where the model is there, and this version of it is not.
    """
    known = client.search_model_versions(f"name = '{model}'")
    numbers = [str(each.version) for each in known if each.tags.get("published") == version]
    if known and not numbers:
        raise AliasError(
            f"{version} is not registered as a version of {model}, so that its alias cannot go "
            f"along, and the embeddings were not moved either: run its night again, which "
            f"registers it, name a version that is registered, or add --embeddings-only"
        )
    return max(numbers, key=int) if numbers else None


def _alias(client: Any, model: str, alias: str) -> str | None:
    aliases = client.get_registered_model(model).aliases
    return str(aliases[alias]) if alias in aliases else None


@contextmanager
def _impatiently() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _IMPATIENT}
    os.environ.update({n: value for n, value in _IMPATIENT.items() if before[n] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _without_secrets(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
