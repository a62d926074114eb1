"""Published versions in an object store, or anywhere else that fsspec reaches.

    <url>/<name>/<version>/   the files of a version; its manifest.json comes last
    <url>/<name>/CURRENT      one JSON object: the version readers follow, and the fence
    <url>/<name>/history/     one object an event

Invariant: readers go by CURRENT alone, which is replaced by one put, and only after every file it
leads to was uploaded and read back against its checksum.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pinsage.errors import ArtifactError, ConfigError, MissingExtraError
from pinsage.retrieval import history
from pinsage.retrieval.fencing import Fence
from pinsage.retrieval.pointer import pointer_at, protocols
from pinsage.retrieval.shelf import CURRENT
from pinsage.store import MANIFEST, FileEntry, Manifest, parse_manifest

_CHUNK = 1 << 25
_FLAT = {"abfs", "az", "gcs", "gs", "s3"}  # stores without folders
_ATTEMPTS = 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """What CURRENT says. `nonce` makes each content its own."""

    version: str = ""
    fence: Fence = field(default_factory=Fence)
    withdrawn: tuple[str, ...] = ()
    nonce: str = ""


class RemoteShelf:
    """The versions of one data set below a URL. Every method raises ArtifactError."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url.rstrip("/"), name
        self._fs, base = _open(self.url)
        self._base = f"{base.rstrip('/')}/{name}"
        self._pointer = pointer_at(self._fs, f"{self._base}/{CURRENT}")

    def __str__(self) -> str:
        return f"{self.url}/{self.name}"

    def state(self) -> State:
        """What readers follow now."""
        return self._state()[0]

    def take_token(self) -> int:
        """The next number of the fence."""

        def issue(state: State) -> State:
            return replace(state, fence=replace(state.fence, issued=state.fence.issued + 1))

        return self._change(issue).fence.issued

    def current_version(self) -> str:
        """The version readers follow. Raises ArtifactError where nothing is published."""
        version = self.state().version
        if not version:
            raise ArtifactError(
                f"{self}/{CURRENT}: nothing is published there; set publish.to to {self.url} and "
                f"run `pinsage run --config FILE`, or name another"
            )
        return version

    def versions(self) -> list[str]:
        """Versions that are complete, oldest first."""
        with self._explained():
            return [each for each in self._folders() if self._is_there(f"{each}/{MANIFEST}")]

    def manifest(self, version: str) -> Manifest:
        """The manifest of a version. Raises ArtifactError where it is not there, or damaged."""
        where = f"{self}/{version}/{MANIFEST}"
        with self._explained():
            try:
                return parse_manifest(self._fs.cat_file(self._at(f"{version}/{MANIFEST}")).decode())
            except FileNotFoundError:
                raise ArtifactError(f"{where}: there is no such version") from None
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ArtifactError(f"{where}: broken manifest ({error}); publish again") from None

    def find_by_key(self, key: str) -> str | None:
        """The undamaged version made from the same inputs, by this host or another."""
        for version in self.versions():
            if version.endswith(f"-{key[:8]}"):
                try:
                    manifest = self.manifest(version)
                except ArtifactError as error:
                    _log.warning("publishing anew what is damaged: %s", error)
                    continue
                if manifest.key == key and self._is_whole(version, manifest.files):
                    return version
        return None

    def upload(self, version: Path, manifest: Manifest) -> None:
        """Bring a version's files there, each read back; then its manifest. Nobody follows it yet.

        What an upload that was killed has left is used where it is whole.
        """
        with self._explained():
            sizes = self._sizes(version.name)
            for name, entry in manifest.files.items():
                if not self._holds(version.name, name, entry, sizes):
                    self._put(version / name, f"{version.name}/{name}")
                    if self._digest(f"{version.name}/{name}", entry.bytes) != entry.digest:
                        raise ArtifactError(
                            f"{self}/{version.name}/{name}: what was uploaded is not what came "
                            f"back; nothing was switched: publish again"
                        )
            self._put(version / MANIFEST, f"{version.name}/{MANIFEST}")

    def switch(self, version: str, token: int, *, why: str, forced: bool) -> bool:
        """Point readers at a version; False where it was rolled back, and they stay.

        Raises PublishError where a publisher with a later token was faster, unless `forced`.
        """
        entry = history.event("publish", version=version, token=token, why=why, forced=forced)

        def move(state: State) -> State:
            if token < state.fence.published and version == state.version:
                return state  # a late duplicate changes nothing
            if not forced:
                state.fence.check(token, str(self))
            if version in state.withdrawn:
                return state
            return replace(state, version=version, fence=state.fence.passed(token, version, entry))

        move(self.state())  # what is refused is no event
        self._record(entry)
        return self._change(move).version == version

    def roll_back(self, version: str, *, why: str) -> None:
        """Point readers at an earlier version, or forward again."""
        self._record(history.event("rollback", version=version, why=why))

        def move(state: State) -> State:
            withdrawn = set(state.withdrawn) - {version}
            if version < state.version:
                withdrawn.add(state.version)
            return replace(state, version=version, withdrawn=tuple(sorted(withdrawn)))

        self._change(move)

    def prune(self, keep: int) -> None:
        """Remove the oldest versions beyond `keep`, never the current one."""
        with self._explained():
            current = self.state().version
            complete = self.versions()
            others = [each for each in complete if each != current]
            kept = others[max(0, len(others) - (keep - 1)) :]
            oldest = min([*kept, current])
            for version in self._folders():
                left_over = version not in complete and version < oldest  # a kill in here
                if left_over or (version in others and version not in kept):
                    if version in complete:  # first, so that nobody takes the rest for a version
                        self._fs.rm_file(self._at(f"{version}/{MANIFEST}"))
                    self._fs.rm(self._at(version), recursive=True)

    def fetch(self, version: str, files: Mapping[str, FileEntry], folder: Path) -> None:
        """Copy files of a version into a local folder; they are not verified here."""
        for name in files:
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise ArtifactError(
                    f"{self}/{version}: its manifest names {name!r}, which is not below it"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._explained():
                try:
                    self._fs.get_file(self._at(f"{version}/{name}"), str(target))
                except FileNotFoundError:
                    raise ArtifactError(
                        f"{self}/{version}/{name}: is not there, so there is no such version, or "
                        f"it was removed just now; there are {', '.join(self.versions())}"
                    ) from None

    def _change(self, move: Callable[[State], State]) -> State:
        """Replace CURRENT by what `move` makes of it, again where another was faster."""
        with self._explained():
            for _ in range(_ATTEMPTS):
                state, tag = self._state()
                moved = move(state)
                if moved == state:
                    return state
                moved = replace(moved, nonce=secrets.token_hex(8))
                if self._pointer.replace(json.dumps(asdict(moved), indent=2).encode(), tag):
                    return moved
        raise ArtifactError(
            f"{self}/{CURRENT}: others changed it {_ATTEMPTS} times in a row; run again"
        )

    def _state(self) -> tuple[State, str]:
        with self._explained():
            content, tag = self._pointer.read()
            if content is None:
                return State(), tag
            try:
                tree = json.loads(content)
                fence, withdrawn = Fence(**tree.pop("fence")), tuple(tree.pop("withdrawn"))
                return State(**tree, fence=fence, withdrawn=withdrawn), tag
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ArtifactError(
                    f"{self}/{CURRENT}: cannot be read ({error}); delete it and publish again"
                ) from None

    def _record(self, entry: Mapping[str, Any]) -> None:
        name = f"history/{entry['when']}-{secrets.token_hex(4)}.json"
        with self._explained():
            self._make_folder(name)
            self._fs.pipe_file(self._at(name), json.dumps(entry, default=str).encode())

    def _put(self, source: Path, name: str) -> None:
        self._make_folder(name)
        self._fs.put_file(str(source), self._at(name))

    def _make_folder(self, name: str) -> None:
        # Asked to make a folder, a flat store would look for the bucket, and may not be allowed to.
        if _FLAT.isdisjoint(protocols(self._fs)):
            self._fs.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)

    def _is_whole(self, version: str, files: Mapping[str, FileEntry]) -> bool:
        with self._explained():
            sizes = self._sizes(version)
            return all(self._holds(version, name, entry, sizes) for name, entry in files.items())

    def _holds(self, version: str, name: str, entry: FileEntry, sizes: Mapping[str, int]) -> bool:
        if sizes.get(name) != entry.bytes:
            return False
        return self._digest(f"{version}/{name}", entry.bytes) == entry.digest

    def _sizes(self, version: str) -> dict[str, int]:
        """Bytes of every file of a version, in one question."""
        self._fs.invalidate_cache()
        try:
            found = self._fs.find(self._at(version), detail=True)
        except FileNotFoundError:
            return {}
        beginning = self._at(version).lstrip("/") + "/"
        return {
            str(path).lstrip("/").removeprefix(beginning): int(about["size"])
            for path, about in found.items()
        }

    def _digest(self, name: str, size: int) -> str:
        digest = blake2b(digest_size=16)
        for start in range(0, size, _CHUNK):
            end = min(size, start + _CHUNK)
            digest.update(self._fs.cat_file(self._at(name), start=start, end=end))
        return digest.hexdigest()

    def _folders(self) -> list[str]:
        self._fs.invalidate_cache()
        try:
            listed = self._fs.ls(self._base, detail=False)
        except FileNotFoundError:
            return []
        found = [str(path).rstrip("/").rpartition("/")[2] for path in listed]
        return sorted(name for name in found if name[:1].isdigit())

    def _is_there(self, name: str) -> bool:
        self._fs.invalidate_cache()
        return bool(self._fs.isfile(self._at(name)))

    def _at(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except _failures() as error:
            raise ArtifactError(
                f"{self}: the store does not do as asked ({type(error).__name__}: {error}); what "
                f"readers follow is unchanged: check the address, the credentials and the network, "
                f"and run again"
            ) from error


def is_url(place: object) -> bool:
    """Whether a place is an address for fsspec rather than a path."""
    return isinstance(place, str) and "://" in place


def remote_names(url: str) -> list[str]:
    """Data sets with something published below a URL. Raises ArtifactError."""
    fs, base = _open(url.rstrip("/"))
    try:
        found = fs.glob(f"{base.rstrip('/')}/*/{CURRENT}")
    except _failures() as error:
        raise ArtifactError(f"{url}: cannot be listed ({error})") from error
    return sorted(str(path).split("/")[-2] for path in found)


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        fs, base = url_to_fs(url)
    except ImportError as error:
        raise MissingExtraError(
            f"{url}: {error}; for S3: pip install 'pinsage-pipeline[s3]'"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{url}: {error}; expected e.g. s3://bucket/prefix") from None
    return fs, str(base)


def _failures() -> tuple[type[BaseException], ...]:
    """Network failures are OSErrors, but for what botocore raises before it has an answer."""
    botocore = sys.modules.get("botocore.exceptions")
    return (OSError, *([botocore.BotoCoreError] if botocore else []))
