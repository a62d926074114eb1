"""From raw sources to numbered interactions, cut in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pinsage.config import CHANGES_NO_ROW, Config
from pinsage.errors import SourceError
from pinsage.store import Artifact, Facts, Store, Workspace, code_digest, file_digest

if TYPE_CHECKING:
    from pinsage.data.sources import FileTable
    from pinsage.progress import Listener

_DATA = ("pinsage.data",)


def snapshot(config: Config, store: Store) -> Artifact:
    """Land the raw sources once as canonical Parquet, so that all stages see the same rows."""
    from pinsage.data.interactions import PART, Part
    from pinsage.data.snapshot import find_sources, write_snapshot

    found = find_sources(config.data, store.root / "cache" / "digests")

    def part_of(table: FileTable) -> Part:
        file = table.files[0]
        if file not in found["interactions"].files:
            raise SourceError(f"{file}: appeared while its folder was being read; run again")
        landed = part(config, store, table, found["interactions"].files[file])
        return Part(landed.file(PART), landed.digest(), landed.facts)

    def build(work: Workspace) -> Facts:
        return write_snapshot(config.data, work.path, part_of)

    return store.stage(
        "snapshot",
        build,
        settings={"data": config.data.model_dump(mode="json", exclude=set(CHANGES_NO_ROW))},
        inputs={name: source.digest for name, source in found.items()},
        code=_DATA,
    )


def part(config: Config, store: Store, table: FileTable, digest: str) -> Artifact:
    """Land the interactions of one file of a folder; `digest` is that of its content.

    The key knows neither the file's name nor what lies beside it.
    """
    interactions = config.data.interactions

    def build(work: Workspace) -> Facts:
        from pinsage.data.interactions import write_part

        facts = write_part(interactions, table, work.path)
        if file_digest(table.files[0]) != digest:
            raise SourceError(f"{table.files[0]}: changed while it was being read; run again")
        return facts

    return store.stage(
        "part",
        build,
        settings={
            **interactions.model_dump(mode="json", exclude={"path", "package", "duplicates"}),
            "typed": table.typed,
            "partition": table.partition(table.files[0]),
        },
        inputs={"file": digest},
        code=_DATA,
    )


def ingest(
    config: Config, store: Store, landed: Artifact, *, listener: Listener | None = None
) -> Artifact:
    """Quarantine unusable rows, remove duplicates, and number users and items densely.

    Where an earlier ingest had all but the newest files of a folder, only those are read.
    `listener` is told how far it is.
    """
    settings = {
        "duplicates": config.data.interactions.duplicates,
        "has_catalog": config.data.items is not None,
    }
    parts = landed.facts.get("parts", [])

    def build(work: Workspace) -> Facts:
        from pinsage.data.earlier import find_earlier
        from pinsage.data.ingest import write_ingested

        made = store.made("ingest") if parts else ()
        earlier = find_earlier(made, parts, settings=settings, code=code_digest(_DATA))
        facts = write_ingested(landed.path, config.data, work.path, earlier, listener)
        if parts and earlier is None:
            facts["full_because"] = "there is no earlier ingest of a part of these files"
        return {**facts, "parts": parts}

    return store.stage(
        "ingest",
        build,
        settings=settings,
        inputs={"snapshot": landed.digest()},
        code=_DATA,
    )


def split(config: Config, store: Store, ingested: Artifact) -> Artifact:
    """Cut the interactions at two points in time; the catalog as it was known at the second."""
    has_catalog = config.data.items is not None

    def build(work: Workspace) -> Facts:
        from pinsage.data.split import write_split

        return write_split(ingested.path, config.split, work.path, has_catalog=has_catalog)

    return store.stage(
        "split",
        build,
        settings={**config.split.model_dump(mode="json"), "has_catalog": has_catalog},
        inputs={"ingested": ingested.digest("interactions.parquet", "items.parquet")},
        code=("pinsage.data",),
    )
