"""Which artifacts of a root somebody needs, and who.

Needed is what a published version is explained by and started from, what the newest runs of each
flow name in their records, what the next night may go on from, and what is young. Not needed is
what those were once made from: it would only be read to make them again.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pinsage.config import RetentionConfig
from pinsage.errors import ArtifactError
from pinsage.retrieval.publish import JUDGED_BY
from pinsage.store import MANIFEST, Artifact, Manifest, Store, read_manifest

DAY = 86_400.0  # seconds
# What a version calls its sources -> the stage, and the files that the digest it holds is of; none
# means all of them. `pinsage explain` and `embed-new` find them so.
SOURCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "items": ("ingest", ()),
    "graph": ("graph", ()),
    "model": ("train", ("model/",)),
    "evaluation": ("evaluate", JUDGED_BY),
    "embeddings": ("embed", ()),
    "index": ("index", ()),
}
_log = logging.getLogger(__name__)


class Place(NamedTuple):
    """Where an artifact is: `<root>/stages/<stage>/<key>`."""

    stage: str
    key: str


class Needs:
    """Why each artifact of a root stays; one that is not in `reasons` is needed by nobody."""

    def __init__(self, root: Path, policy: RetentionConfig, now: float) -> None:
        self.reasons: dict[Place, str] = {}
        self._root = root
        self._made = {Place(a.manifest.stage, a.path.name): a for a in _all_made(root)}
        self._by_stage: dict[str, list[Artifact]] = defaultdict(list)
        for place, artifact in self._made.items():
            self._by_stage[place.stage].append(artifact)
        self._published()
        self._recorded(policy.runs)
        self._newest()
        self._young(policy.young_days, now)
        self._parts()

    def _keep(self, place: Place, why: str) -> None:
        self.reasons.setdefault(place, why)

    def _published(self) -> None:
        for name, version, manifest in _versions(self._root):
            why = f"published {name} {version}"
            for place in self._behind(manifest):
                self._keep(place, why)

    def _behind(self, version: Manifest) -> Iterator[Place]:
        """What a version was made of: under the key that it names, and under any other."""
        keys = version.facts.get("artifacts", {})
        for source, (stage, files) in SOURCES.items():
            found = self._with_digest(stage, version.inputs.get(source), files)
            for place in {*found, Place(stage, str(keys.get(source, "")))}:
                yield place
                if stage == "embed" and place in self._made:
                    table = self._made[place].manifest.inputs.get("neighbourhoods")
                    yield from self._with_digest("neighbourhoods", table)

    def _recorded(self, runs: int) -> None:
        for file in kept_records(self._root, runs):
            for place in _places(_read(file)):
                self._keep(place, f"run {file.stem}")

    def _newest(self) -> None:
        """What the next night's stages look for, to go on from it."""
        graphs = {artifact.digest(): artifact for artifact in self._by_stage["graph"]}
        tables = [
            table
            for table in self._by_stage["neighbourhoods"]
            if table.manifest.inputs.get("graph") in graphs
        ]
        if tables:
            newest = max(tables, key=_created)
            for each in (newest, graphs[newest.manifest.inputs["graph"]]):
                self._keep(_place(each), "the newest of its kind")
        if ingests := self._by_stage["ingest"]:
            self._keep(_place(max(ingests, key=_created)), "the newest of its kind")

    def _young(self, days: float, now: float) -> None:
        for file in (self._root / "stages").glob(f"[!.]*/[!.]*/{MANIFEST}"):
            if now - file.stat().st_mtime < days * DAY:
                place = Place(file.parent.parent.name, file.parent.name)
                self._keep(place, f"younger than {days:g} days")

    def _parts(self) -> None:
        """Landed files of a folder, which the next night finds instead of reading them again."""
        whole = [place for place in self.reasons if place.stage in ("snapshot", "ingest")]
        for place in whole:
            if place in self._made:
                wanted = [digest for digest, _ in self._made[place].facts.get("parts", [])]
                for part in self._with_digests("part", wanted):
                    self._keep(part, f"part of {place.stage} {place.key}")

    def _with_digest(
        self, stage: str, digest: str | None, files: tuple[str, ...] = ()
    ) -> list[Place]:
        return self._with_digests(stage, [digest] if digest else [], files)

    def _with_digests(
        self, stage: str, digests: Iterable[str], files: tuple[str, ...] = ()
    ) -> list[Place]:
        wanted = set(digests)
        return [_place(a) for a in self._by_stage[stage] if wanted and a.digest(*files) in wanted]


def kept_records(root: Path, runs: int) -> list[Path]:
    """Files of the newest runs of each flow and data set; those that failed are counted apart."""
    groups: dict[tuple[str, str, bool], list[Path]] = defaultdict(list)
    for file in sorted((root / "runs").glob("[!.]*.json")):  # named by time
        record = _read(file)
        is_done = record.get("state") == "completed"
        groups[str(record.get("flow")), str(record.get("name")), is_done].append(file)
    return sorted(file for files in groups.values() for file in files[-runs:])


def _all_made(root: Path) -> Iterator[Artifact]:
    store = Store(root)
    for folder in sorted((root / "stages").glob("[!.]*/")):
        yield from store.made(folder.name)


def _versions(root: Path) -> Iterator[tuple[str, str, Manifest]]:
    for file in sorted((root / "published").glob(f"[!.]*/[0-9]*/{MANIFEST}")):
        try:
            manifest = read_manifest(file.parent)
        except ArtifactError as error:
            _log.warning("nothing is kept for a damaged version: %s", error)
            continue
        yield file.parent.parent.name, file.parent.name, manifest


def _places(record: Mapping[str, Any]) -> Iterator[Place]:
    """Where a run's artifacts are; by the ends of their paths, for a root may have been moved."""
    stages = record.get("stages")
    for entry in stages.values() if isinstance(stages, dict) else ():
        parts = Path(str(entry.get("path", ""))).parts if isinstance(entry, dict) else ()
        if len(parts) >= 2:
            yield Place(*parts[-2:])


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        _log.warning("nothing is kept for a damaged record: %s: %s", file, error)
        return {}
    return record if isinstance(record, dict) else {}


def _place(artifact: Artifact) -> Place:
    return Place(artifact.path.parent.name, artifact.path.name)


def _created(artifact: Artifact) -> str:
    return artifact.manifest.created
