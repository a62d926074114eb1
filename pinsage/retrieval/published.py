"""What consumers read: a published version, verified and memory-mapped."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pinsage.errors import ArtifactError, UnknownItemError
from pinsage.files import discard
from pinsage.model.query import QueryMap, read_query_map
from pinsage.retrieval.cache import fetched
from pinsage.retrieval.index import ItemIndex, open_index
from pinsage.retrieval.remote import RemoteShelf, is_url, remote_names
from pinsage.retrieval.shelf import EMBEDDINGS, current_version, only_name, shelf
from pinsage.retrieval.verified import verified_manifest
from pinsage.retrieval.versions import named_version
from pinsage.store import Manifest

VECTORS = "vectors.npy"  # file of a version: what readers map
_SUGGESTIONS = 5
_TITLE_WIDTH = 60

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Neighbour:
    """A related item; `score` is what training scored by."""

    rank: int
    item_id: Any
    title: str
    score: float


@dataclass(frozen=True)
class Published:
    """An open version.

    Attributes:
        items: item_id and title by row
        vectors: float32 [N, d], mapped from disk and not to be written to
        query: from embeddings to what they search with
    """

    path: Path
    manifest: Manifest
    items: pd.DataFrame
    vectors: npt.NDArray[np.float32]
    query: QueryMap

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.path.name

    @cached_property
    def _index(self) -> ItemIndex:
        return open_index(self.path)

    @cached_property
    def row_by_id(self) -> dict[Any, int]:
        """Row of each item, by an id of the catalog's own type."""
        return {item_id: row for row, item_id in enumerate(self.items["item_id"].tolist())}

    def row_of(self, item_id: Any) -> int:
        """Row of an id of the catalog's own type. Raises UnknownItemError."""
        try:
            return self.row_by_id[item_id]
        except (KeyError, TypeError):
            raise UnknownItemError(
                f"{item_id!r}: no such item in version {self.version} of {self.path.parent.name} "
                f"({len(self.items):,} items, ids like {self.items['item_id'].iloc[0]!r})"
            ) from None

    def find(self, text: str) -> int:
        """Row of the item with this id, this title, or the only title that contains the text.

        Raises UnknownItemError with the matches or the closest titles.
        """
        is_id = self.items["item_id"].astype(str) == text
        if is_id.any():
            return int(np.flatnonzero(is_id)[0])
        titles = self.items["title"].fillna("").astype(str).str.casefold()
        wanted = text.casefold().strip()
        for match in (titles == wanted, titles.str.contains(wanted, regex=False)):
            rows = np.flatnonzero(match) if wanted else np.empty(0, dtype=np.int64)
            if len(rows) == 1:
                return int(rows[0])
            if len(rows) > 1:
                raise UnknownItemError(self._ambiguous(text, rows))
        raise UnknownItemError(self._unknown(text, wanted, titles))

    def related(
        self, row: int, k: int, *, allowed: npt.NDArray[np.int64] | None = None
    ) -> list[Neighbour]:
        """The `k` nearest items to the item in `row`, best first, without the item itself.

        Only items whose rows are `allowed` are among them.
        """
        return self.nearest(self.vectors[row], k, exclude=row, allowed=allowed)

    def nearest(
        self,
        vector: npt.NDArray[np.float32],
        k: int,
        *,
        exclude: int = -1,
        allowed: npt.NDArray[np.int64] | None = None,
    ) -> list[Neighbour]:
        """The `k` best items for an item's embedding [d], without the row `exclude`.

        Only items whose rows are `allowed` are among them.
        """
        wanted = min(k + (exclude >= 0), len(self.items))
        scores, rows = self.search(np.asarray(vector)[None], wanted, allowed=allowed)
        hits = [(int(r), float(s)) for r, s in zip(rows[0], scores[0], strict=True)]
        kept = [(row, score) for row, score in hits if row not in (exclude, -1)][:k]
        ids, titles = self.items["item_id"], self.items["title"]
        return [
            Neighbour(rank, ids.iloc[row], str(titles.iloc[row]), score)
            for rank, (row, score) in enumerate(kept, start=1)
        ]

    def search(
        self,
        vectors: npt.NDArray[np.float32],
        k: int,
        *,
        allowed: npt.NDArray[np.int64] | None = None,
        mapped: bool = True,
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores float32 [Q, k], best first, and rows int64 [Q, k] for vectors float32 [Q, d].

        With `mapped`, vectors are embeddings of items, and search as training had them search;
        else they are what searches. Only items whose rows are `allowed` are found; −inf and −1
        stand where there is none left.
        """
        queries = self.query(vectors) if mapped else vectors
        return self._index.search(queries, k, allowed=allowed)

    def _ambiguous(self, text: str, rows: npt.NDArray[np.int64]) -> str:
        shown = self.items.iloc[rows[:_SUGGESTIONS]]
        pairs = zip(shown["item_id"], shown["title"], strict=True)
        listed = "; ".join(f"{item_id} {one_line(title)}" for item_id, title in pairs)
        more = f"; and {len(rows) - _SUGGESTIONS} more" if len(rows) > _SUGGESTIONS else ""
        return f"{text!r} fits {len(rows)} titles ({listed}{more}); give the id of one"

    def _unknown(self, text: str, wanted: str, titles: pd.Series) -> str:
        close = difflib.get_close_matches(wanted, titles.tolist(), _SUGGESTIONS, cutoff=0.5)
        rows = [int(np.flatnonzero(titles == title)[0]) for title in dict.fromkeys(close)]
        hint = "; ".join(one_line(self.items["title"].iloc[row]) for row in rows)
        return (
            f"{text!r}: no such id or title among {len(self.items):,} items of version "
            f"{self.version}" + (f"; did you mean {hint}?" if hint else "")
        )


def one_line(title: Any) -> str:
    """A title for a message: anybody's text, so it is cut short and can move no cursor."""
    text = "".join(c if c.isprintable() else " " for c in str(title))
    return textwrap.shorten(text, _TITLE_WIDTH, placeholder="…")


def load_published(
    root: Path | str = "var",
    name: str | None = None,
    version: str | None = None,
    *,
    verify: bool = True,
) -> Published:
    """Open the current version of a data set, or the one named, with its vectors mapped.

    `root` is a folder, or an address that versions were published to, e.g. `s3://bucket/prefix`:
    they are then fetched once, into a cache on this machine. Without a name there must be one data
    set alone. Every file is read and compared with its checksum the first time a process opens a
    version, and again when a file has changed since; `verify=False` only compares sizes.

    Raises ArtifactError where nothing is published there, or a file is missing or damaged.
    """
    if is_url(root):
        return _load_fetched(str(root), name, version, verify=verify)
    folder = Path(root)
    name = name or only_name(folder)
    if version is not None:
        return open_version(named_version(folder, name, version), verify=verify)
    current = current_version(folder, name)
    try:
        return open_version(shelf(folder, name) / current, verify=verify)
    except (ArtifactError, OSError):
        if current_version(folder, name) == current:
            raise
        # Pruned while it was read: there is a newer one.
        return load_published(folder, name, verify=verify)


def open_version(path: Path, *, verify: bool = True) -> Published:
    """Open a version's folder, wherever it lies. See `load_published` for `verify`."""
    manifest = verified_manifest(path, contents=verify)
    table = pq.read_table(path / EMBEDDINGS, columns=["item_id", "title"])
    vectors = _mapped(path) if VECTORS in manifest.files else _read_vectors(path)
    if len(vectors) != len(table):
        raise ArtifactError(
            f"{path / VECTORS}: has {len(vectors):,} rows for {len(table):,} items; publish again"
        )
    return Published(path, manifest, table.to_pandas(), vectors, read_query_map(path / "model"))


def _load_fetched(url: str, name: str | None, version: str | None, *, verify: bool) -> Published:
    if name is None:
        found = remote_names(url)
        if len(found) != 1:
            raise ArtifactError(
                f"{url}: {len(found)} data sets are published there ({', '.join(found)}); name one"
            )
        name = found[0]
    place = RemoteShelf(url, name)
    wanted = version or place.current_version()
    try:
        path = fetched(place, wanted)
        try:
            return open_version(path, verify=verify)
        except ArtifactError:
            discard(path)  # damaged on this machine: the store still has it
            return open_version(fetched(place, wanted), verify=verify)
    except (ArtifactError, OSError):
        if version is not None or place.current_version() == wanted:
            raise
        return _load_fetched(url, name, None, verify=verify)  # pruned while it was fetched


def _mapped(path: Path) -> npt.NDArray[np.float32]:
    try:
        return np.asarray(np.load(path / VECTORS, mmap_mode="r"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path / VECTORS}: cannot be mapped ({error}); publish again"
        ) from None


def _read_vectors(path: Path) -> npt.NDArray[np.float32]:
    """Of a version that was published before its vectors were kept in a file to be mapped."""
    column = pq.read_table(path / EMBEDDINGS, columns=["vector"]).column("vector")
    flat = pa.concat_arrays([pc.list_flatten(chunk) for chunk in column.chunks])
    return flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
