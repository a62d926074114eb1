"""Publishing a version: staged, verified, visible at once, and only then pointed at.

The two steps can be taken apart: `publish(promote=False)` makes a version that can be listed and
opened by name, and `promote` switches readers to it. The same inputs make one version, not two;
readers see the complete old or the complete new one. Who began earlier than the last who published
is refused (fencing.py). Where versions go to an object store too, they are complete there before
anybody is switched.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinsage.config import Config
from pinsage.errors import PublishError
from pinsage.retrieval import fencing, history
from pinsage.retrieval.fencing import Token, read_fence, write_fence
from pinsage.retrieval.making import CONTEXTS, REPORT, Making
from pinsage.retrieval.remote import RemoteShelf
from pinsage.retrieval.shelf import shelf
from pinsage.retrieval.unpromoted import Mark, edition, lift, mark, read_marks
from pinsage.retrieval.versions import (
    Companion,
    address,
    find_by_key,
    followed_in,
    is_withdrawn,
    locked,
    named_version,
    names_in,
    prune,
    remember_address,
    switch,
)
from pinsage.store import Artifact, digest_of, open_artifact, read_manifest

__all__ = ["CONTEXTS", "JUDGED_BY", "REPORT", "Version", "promote", "publish", "take_token"]

# What a version says of its evaluation: not metrics.json and table.md, made of these, nor
# tuning.json, which holds wall times.
JUDGED_BY = ("results.parquet", "ranks.parquet")


@dataclass(frozen=True)
class Version:
    """A published version.

    Attributes:
        reused: the same had been published before
        followed: readers follow it; False where they were not switched to it, or were rolled back
            from it, which stays so
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
    return _take_token(config.root, config.name, config.publish.to)


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
    promote: bool = True,
) -> Version:
    """Publish embeddings, index, model and report as one version, and switch readers to it.

    Unless `promote`, readers stay where they are: the version can be listed and opened by name, and
    is for `promote` to switch to. Only where readers follow a damaged version of the same inputs do
    they go on with the new one.

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
        remember_address(folder, config.publish.to)
        mends = existing is None and edition(followed_in(folder) or "") == key[:8]
        if existing is None and not (promote or mends):
            # Before it is made: from its first moment it is one that nobody was switched to.
            mark(folder, key[:8], Mark(), names_in(folder))
        made = Making(config, sources | {"report": reported}, inputs, key, token, origin or {})
        path = existing or made.version_in(folder, compared_with=followed_in(folder))
        if promote or mends:
            keep = config.publish.keep
            followed, there = _switch(folder, path, token, why=why, forced=force, late=force,
                                      keep=keep)  # fmt: skip
        else:
            followed, there = followed_in(folder) == path.name, None
        prune(folder, config.publish.keep)
    return Version(path.name, path, existing is not None, followed, there, _stability(path))


def promote(
    root: Path,
    name: str,
    version: str,
    *,
    token: Token | None = None,
    why: str = "",
    force: bool = False,
    keep: int | None = None,
    companion: Companion | None = None,
) -> Version:
    """Switch readers to a published version, those of the object store first.

    `force` takes one that was refused, or that nobody has judged; that and `why` are in the
    history. It lets no late publisher through: `token` was taken when the work began, else it is
    taken now. `companion` is entered before anything is switched, and left with the error where
    that fails. Versions of the object store beyond `keep` go. Doing it twice is doing it once. A
    version that was rolled back is not switched to, and comes back with `followed` False.

    Raises PublishError where the version was refused, and where a later publisher has published
    since; ArtifactError where there is no such version, or where it is damaged.
    """
    folder, path = shelf(root, name), named_version(root, name, version)
    token = token or _take_token(root, name, address(folder))
    with locked(folder):
        _refuse_late(folder, token, path, force=False)
        _refuse_refused(folder, name, version, force=force)
        open_artifact(path)
        is_news, is_lost = followed_in(folder) != version, is_withdrawn(folder, version)
        with companion(version) if companion and not is_lost else nullcontext():
            followed, there = _switch(folder, path, token, why=why, forced=force, late=False,
                                      keep=keep)  # fmt: skip
        if keep is not None:
            prune(folder, keep)
    return Version(version, path, not is_news, followed, there, _stability(path))


def _take_token(root: Path, name: str, to: str) -> Token:
    folder = shelf(root, name)
    number = RemoteShelf(to, name).take_token() if to else 0
    with locked(folder):
        return Token(fencing.take(folder), number)


def _refuse_refused(folder: Path, name: str, version: str, *, force: bool) -> None:
    """Raise PublishError where the gate has not let a version through, and nobody forces it."""
    known = read_marks(folder).get(edition(version))
    if known is None or force or known.said in ("promote", "ask"):
        return
    said = "; ".join(known.reasons) or "nobody has judged it yet: its run has not come so far"
    raise PublishError(
        f"{folder}: {version} is not for readers: {said}; they stay where they are: "
        f"`pinsage promote {version} --name {name} --force --why …` switches them all the same"
    )


def _refuse_late(folder: Path, token: Token, existing: Path | None, *, force: bool) -> None:
    """Before any work. Who publishes what readers follow already changes nothing, and may."""
    is_followed = existing is not None and followed_in(folder) == existing.name
    if force or is_followed:
        return
    try:
        read_fence(folder).check(token.local, str(folder))
    except PublishError as error:
        history.record(folder, history.event("refused", token=token.local, why=str(error)))
        raise


def _switch(
    folder: Path, path: Path, token: Token, *, why: str, forced: bool, late: bool, keep: int | None
) -> tuple[bool, str | None]:
    """Switch readers, those of the object store first; whether they follow, and where.

    `late` lets a publisher through that a later one has overtaken there.
    """
    version = path.name
    followed, there = not is_withdrawn(folder, version), None
    if (to := address(folder)) and followed:
        remote = RemoteShelf(to, folder.name)
        followed, there = _publish_to(remote, path, token, why=why, late=late, keep=keep)
    fence = read_fence(folder)
    is_news = followed_in(folder) != version or token.local > fence.published
    if followed and is_news:
        entry = history.event(
            "publish", version=version, was=followed_in(folder), token=token.local, why=why,
            forced=forced,
        )  # fmt: skip
        history.record(folder, entry)
        # Before the switch: killed in between, this refuses an older publisher for nothing; the
        # other way round it would let one through.
        write_fence(folder, fence.passed(token.local, version, entry))
        switch(folder, version)
    if followed:
        lift(folder, version)
    return followed, there


def _publish_to(
    remote: RemoteShelf, path: Path, token: Token, *, why: str, late: bool, keep: int | None
) -> tuple[bool, str]:
    manifest = read_manifest(path)
    version = remote.find_by_key(manifest.key)
    if version is None:
        remote.upload(path, manifest)
        version = path.name
    number = token.remote or remote.take_token()
    followed = remote.switch(version, number, why=why, forced=late)
    if keep is not None:
        remote.prune(keep)
    return followed, f"{remote}/{version}"


def _stability(path: Path) -> Mapping[str, Any]:
    measured: Mapping[str, Any] = read_manifest(path).facts.get("stability", {})
    return measured
