"""Artifacts on disk: content-addressed stage folders with a manifest, complete or not visible.

    <root>/stages/<stage>/<key>/      files and manifest.json; appears by one atomic rename
    <root>/scratch/<stage>/<key>/     checkpoints of an unfinished stage; survives a kill
    <root>/scratch/<stage>/<key>.lock held while a stage is built: one process builds, others wait
    <root>/.in-use                    held by every open store, so that nothing is removed under it

The key is a digest of the stage's settings, its inputs' contents and the code it runs, so a stage
whose inputs and configuration are unchanged is found instead of run. The store names its content
by digest as well: a stage that was rerun and came out the same does not rerun those after it.
"""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pinsage import __version__
from pinsage.errors import AbandonedError, ArtifactError
from pinsage.files import hold_shared, locked, publish_folder, staging_folder
from pinsage.measure import Meter

IN_USE = ".in-use"
MANIFEST = "manifest.json"
_CHUNK = 1 << 22
_SOURCES = {".py", ".html", ".css", ".js"}  # what a result is made by, templates included

Facts = dict[str, Any]


@dataclass(frozen=True)
class FileEntry:
    """Size and BLAKE2b digest of one file of an artifact."""

    bytes: int
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What made an artifact and what is in it."""

    stage: str
    key: str
    version: str
    created: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    code: str
    files: dict[str, FileEntry]
    facts: Facts = field(default_factory=dict)
    seconds: float = 0.0
    peak_mib: float = 0.0

    def to_json(self) -> str:
        """Stable, human-readable JSON, with a checksum of itself."""
        content = asdict(self)
        return (
            json.dumps({**content, "digest": digest_of(content)}, indent=2, sort_keys=True) + "\n"
        )


@dataclass(frozen=True)
class Artifact:
    """A complete artifact; `reused` says that it was found rather than made."""

    path: Path
    manifest: Manifest
    reused: bool = False

    @property
    def facts(self) -> Facts:
        """What the stage found out: counts, metrics, cut times."""
        return self.manifest.facts

    def file(self, name: str) -> Path:
        """Path of a file of the artifact. Raises ArtifactError where there is none."""
        if name not in self.manifest.files:
            raise ArtifactError(
                f"{self.path}: has no file {name} (it has {', '.join(sorted(self.manifest.files))})"
            )
        return self.path / name

    def digest(self, *names: str) -> str:
        """Digest of the content of the named files, or of all; `model/` names all below it."""
        chosen = {
            file: entry.digest
            for file, entry in self.manifest.files.items()
            if not names or file in names or any(file.startswith(n) for n in names if n[-1] == "/")
        }
        return digest_of(chosen)


@dataclass(frozen=True)
class Workspace:
    """Where a stage writes: `path` becomes the artifact, `scratch` survives a kill.

    `settings` and `inputs` are what the artifact is made with, as its manifest will say.
    """

    path: Path
    scratch: Path
    key: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


class Store:
    """The artifacts under one root; from its first stage until it is closed none is removed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._release: weakref.finalize[..., Store] | None = None

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.root,)

    def close(self) -> None:
        """Let artifacts be removed again; a store that is forgotten closes by itself."""
        if self._release is not None:
            self._release()

    def _hold(self) -> None:
        if self._release is None or not self._release.alive:
            with suppress(OSError):  # a root that cannot be written loses nothing either
                self._release = weakref.finalize(self, os.close, hold_shared(self.root / IN_USE))

    def stage(
        self,
        name: str,
        build: Callable[[Workspace], Facts],
        *,
        settings: Mapping[str, Any],
        inputs: Mapping[str, str],
        code: Sequence[str],
    ) -> Artifact:
        """Find the artifact of a stage, or build it.

        `inputs` maps names to content digests; `code` names the modules or packages whose source
        the result depends on, e.g. `pinsage.graph`. Raises ArtifactError where the artifact exists
        but is damaged, where the disk is full, or where `root` cannot be written. What `build`
        raises is passed on; after AbandonedError there is nothing left to resume from.
        """
        sources = code_digest(tuple(code))
        key = digest_of({"settings": settings, "inputs": inputs, "code": sources})[:16]
        target = self.root / "stages" / name / key
        scratch = self.root / "scratch" / name / key
        lock = scratch.with_suffix(".lock")
        self._hold()
        if target.exists():
            return _reuse(target, scratch)
        with locked(lock):
            if target.exists():  # made by another process while this one waited
                lock.unlink(missing_ok=True)
                return _reuse(target, scratch)
            scratch.mkdir(exist_ok=True)
            with staging_folder(target) as staging:
                with Meter() as meter, _forgets_what_is_abandoned(scratch):
                    facts = build(Workspace(staging, scratch, key, settings, inputs))
                manifest = Manifest(
                    stage=name,
                    key=key,
                    version=__version__,
                    created=datetime.now(UTC).isoformat(),
                    settings=dict(settings),
                    inputs=dict(inputs),
                    code=sources,
                    files=inventory(staging),
                    facts=facts,
                    seconds=round(meter.seconds, 3),
                    peak_mib=round(meter.peak_mib, 1),
                )
                (staging / MANIFEST).write_text(manifest.to_json())
                publish_folder(staging, target)
            shutil.rmtree(scratch, ignore_errors=True)
            lock.unlink(missing_ok=True)  # whoever waits for it finds the artifact
        return open_artifact(target)

    def made(
        self, name: str, *, on_damage: Callable[[ArtifactError], object] | None = None
    ) -> Iterator[Artifact]:
        """All artifacts of a stage whose manifests can be read; their files are not verified.

        Others are damaged, or just being discarded: `on_damage` is told, who needs one is as well.
        """
        for file in sorted((self.root / "stages" / name).glob(f"[!.]*/{MANIFEST}")):
            try:
                yield Artifact(file.parent, read_manifest(file.parent), reused=True)
            except ArtifactError as error:
                if on_damage is not None:
                    on_damage(error)


def open_artifact(path: Path, *, reused: bool = False) -> Artifact:
    """Read a manifest and verify every file against it. Raises ArtifactError."""
    manifest = read_manifest(path)
    verify(path, manifest.files)
    return Artifact(path, manifest, reused)


def read_manifest(path: Path) -> Manifest:
    """The manifest of the artifact in a folder. Raises ArtifactError where it is damaged."""
    source = path / MANIFEST
    try:
        return parse_manifest(source.read_text())
    except FileNotFoundError:
        raise ArtifactError(
            f"{source}: no such file, so {path.name} is not an artifact; {_remedy(path)}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtifactError(f"{source}: broken manifest ({error}); {_remedy(path)}") from None


def parse_manifest(text: str) -> Manifest:
    """The manifest that `Manifest.to_json` wrote.

    Raises ValueError, TypeError, KeyError or AttributeError where the text is another.
    """
    raw = json.loads(text)
    if raw.pop("digest") != digest_of(raw):
        raise ValueError("its content does not match its checksum")
    files = {name: FileEntry(**entry) for name, entry in raw.pop("files").items()}
    return Manifest(files=files, **raw)


def verify(path: Path, files: Mapping[str, FileEntry], *, contents: bool = True) -> None:
    """Check that each file below `path` is there, whole and unaltered. Raises ArtifactError.

    Without `contents` no file is read: its size is all that is checked.
    """
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise ArtifactError(f"{file}: missing; {_remedy(path)}")
        size = file.stat().st_size
        if size != expected.bytes:
            raise ArtifactError(
                f"{file}: {size:,} bytes where its manifest says {expected.bytes:,} "
                f"(truncated or overwritten); {_remedy(path)}"
            )
        if contents and file_digest(file) != expected.digest:
            raise ArtifactError(
                f"{file}: its content does not match its checksum (damaged or altered); "
                f"{_remedy(path)}"
            )


def inventory(path: Path) -> dict[str, FileEntry]:
    """Size and digest of every file below `path`, by relative name."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p != path / MANIFEST)
    return {
        str(file.relative_to(path)): FileEntry(file.stat().st_size, file_digest(file))
        for file in files
    }


def digest_of(value: Any) -> str:
    """Digest of a JSON-like value, independent of key order."""
    canonical = json.dumps(value, sort_keys=True, default=str).encode()
    return blake2b(canonical, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b digest of a file's content, read in blocks."""
    digest = blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


@cache
def code_digest(names: tuple[str, ...]) -> str:
    """Digest of the source of the named modules or packages, e.g. `pinsage.graph`."""
    digest = blake2b(digest_size=16)
    for name in sorted(names):
        try:
            spec = find_spec(name)
        except ModuleNotFoundError:
            spec = None  # not even the package that should hold it
        if spec is None or spec.origin is None:
            raise ArtifactError(f"{name}: no such module, so its source has no digest")
        origin = Path(spec.origin)
        folder = origin.parent.rglob("*") if origin.stem == "__init__" else [origin]
        for file in sorted(f for f in folder if f.suffix in _SOURCES):
            digest.update(f"{name}/{file.relative_to(origin.parent)}".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _forgets_what_is_abandoned(scratch: Path) -> Iterator[None]:
    try:
        yield
    except AbandonedError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _reuse(target: Path, scratch: Path) -> Artifact:
    # Left by a kill just after the artifact was done. It goes first: its files may be those of the
    # artifact, and if they are damaged nothing must be built of them again.
    shutil.rmtree(scratch, ignore_errors=True)
    return open_artifact(target, reused=True)


def _remedy(path: Path) -> str:
    if path.parent.parent.name == "published":
        return "publish again, or go back with `pinsage rollback`"
    return f"delete {path} and run again to rebuild it"
