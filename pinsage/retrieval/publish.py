"""Publishing a version: staged, verified, visible at once, and only then pointed at.

The same inputs make one version, not two; readers see the complete old or the complete new one. Who
began earlier than the last who published is refused (fencing.py). Where versions go to an object
store too, they are complete there before anybody is switched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinsage.config import Config
from pinsage.errors import ArtifactError, PublishError
from pinsage.retrieval import fencing, history
from pinsage.retrieval.fencing import Token, read_fence, write_fence
from pinsage.retrieval.making import CONTEXTS, REPORT, Making
from pinsage.retrieval.remote import RemoteShelf
from pinsage.retrieval.shelf import current_version, shelf
from pinsage.retrieval.versions import (
    find_by_key,
    is_withdrawn,
    locked,
    prune,
    remember_address,
    switch,
)
from pinsage.store import Artifact, digest_of, read_manifest

__all__ = ["CONTEXTS", "JUDGED_BY", "REPORT", "Version", "publish", "take_token"]

# What a version says of its evaluation: not metrics.json and table.md, made of these, nor
# tuning.json, which holds wall times.
JUDGED_BY = ("results.parquet", "ranks.parquet")


@dataclass(frozen=True)
class Version:
    """A published version.

    Attributes:
        reused: the same had been published before
        followed: readers follow it; False where it was rolled back, and stays so
        to: where else it is, and readers follow it
        stability: what was measured against the version before; empty for the first
    """

    name: str
    path: Path
    reused: bool
    followed: bool = True
    to: str | None = None
    stability: Mapping[str, Any] = field(default_factory=dict)


def take_token(config: Config) -> Token:
    """A publisher's place in line, to be taken when its work begins. Raises ArtifactError."""
    folder = shelf(config.root, config.name)
    remote = RemoteShelf(config.publish.to, config.name) if config.publish.to else None
    number = remote.take_token() if remote else 0
    with locked(folder):
        return Token(fencing.take(folder), number)


def publish(
    config: Config,
    *,
    ingested: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    embedded: Artifact,
    indexed: Artifact,
    reported: Artifact,
    contexts: Artifact | None = None,
    token: Token | None = None,
    origin: Mapping[str, str] | None = None,
    why: str = "",
    force: bool = False,
) -> Version:
    """Publish embeddings, index, model and report as one version, and switch readers to it.

    The report is no part of what makes a version: the same embeddings are one, however shown.
    `token` was taken when the work began, else it is taken now. `origin` says what made the
    version, e.g. its commit and MLflow run. `force` lets a late publisher through; that and `why`
    are in the history. Nothing that was published before changes if this fails. Versions beyond
    `publish.keep` go.

    Raises PublishError where a later publisher has published since, ArtifactError where something
    is damaged, does not fit or cannot be written.
    """
    token = token or take_token(config)
    sources = {
        "items": ingested,
        "graph": built,
        "model": trained,
        "evaluation": evaluated,
        "embeddings": embedded,
        "index": indexed,
        **({CONTEXTS: contexts} if contexts else {}),
    }
    inputs = {name: artifact.digest() for name, artifact in sources.items()}
    inputs["model"] = trained.digest("model/")  # not history.json, which holds wall times
    inputs["evaluation"] = evaluated.digest(*JUDGED_BY)
    key = digest_of({"name": config.name, "inputs": inputs, "align": config.publish.align})[:16]
    folder = shelf(config.root, config.name)
    with locked(folder):
        existing = find_by_key(folder, key)
        _refuse_late(folder, token, existing, force=force)
        made = Making(config, sources | {"report": reported}, inputs, key, token, origin or {})
        path = existing or made.version_in(folder, compared_with=_current(folder))
        followed, there = _switch(config, folder, path, token, why=why, force=force)
        prune(folder, config.publish.keep)
    measured = read_manifest(path).facts.get("stability", {})
    return Version(path.name, path, existing is not None, followed, there, measured)


def _refuse_late(folder: Path, token: Token, existing: Path | None, *, force: bool) -> None:
    """Before any work. Who publishes what readers follow already changes nothing, and may."""
    is_followed = existing is not None and _current(folder) == existing.name
    if force or is_followed:
        return
    try:
        read_fence(folder).check(token.local, str(folder))
    except PublishError as error:
        history.record(folder, history.event("refused", token=token.local, why=str(error)))
        raise


def _switch(
    config: Config, folder: Path, path: Path, token: Token, *, why: str, force: bool
) -> tuple[bool, str | None]:
    """Switch readers, those of the object store first; whether they follow, and where."""
    version = path.name
    followed, there = not is_withdrawn(folder, version), None
    remember_address(folder, config.publish.to)
    if config.publish.to and followed:
        followed, there = _publish_to(config, path, token, why=why, force=force)
    fence = read_fence(folder)
    is_news = _current(folder) != version or token.local > fence.published
    if followed and is_news:
        entry = history.event(
            "publish", version=version, was=_current(folder), token=token.local, why=why,
            forced=force,
        )  # fmt: skip
        history.record(folder, entry)
        # Before the switch: killed in between, this refuses an older publisher for nothing; the
        # other way round it would let one through.
        write_fence(folder, fence.passed(token.local, version, entry))
        switch(folder, version)
    return followed, there


def _publish_to(
    config: Config, path: Path, token: Token, *, why: str, force: bool
) -> tuple[bool, str]:
    remote, manifest = RemoteShelf(config.publish.to, config.name), read_manifest(path)
    version = remote.find_by_key(manifest.key)
    if version is None:
        remote.upload(path, manifest)
        version = path.name
    number = token.remote or remote.take_token()
    followed = remote.switch(version, number, why=why, forced=force)
    remote.prune(config.publish.keep)
    return followed, f"{remote}/{version}"


def _current(folder: Path) -> str | None:
    """What readers follow; None where that is nothing, or cannot be read: publishing mends it."""
    try:
        return current_version(folder.parents[1], folder.name)
    except ArtifactError:
        return None
