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
from pinsage.model.query import QueryMap, read_query_map
from pinsage.retrieval.index import FILE as INDEX_FILE
from pinsage.retrieval.index import open_index
from pinsage.retrieval.versions import EMBEDDINGS, current_version, named_version, shelf
from pinsage.store import Manifest, open_artifact

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
        vectors: float32 [N, d]
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
    def _index(self) -> Any:
        return open_index(self.path / INDEX_FILE)

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

    def related(self, row: int, k: int) -> list[Neighbour]:
        """The `k` nearest items to the item in `row`, best first, without the item itself."""
        return self.nearest(self.vectors[row], k, exclude=row)

    def nearest(
        self, vector: npt.NDArray[np.float32], k: int, *, exclude: int = -1
    ) -> list[Neighbour]:
        """The `k` best items for an item's embedding [d], without the row `exclude`."""
        wanted = min(k + (exclude >= 0), len(self.items))
        scores, rows = self._index.search(np.ascontiguousarray(self.query(vector))[None], wanted)
        hits = [(int(r), float(s)) for r, s in zip(rows[0], scores[0], strict=True)]
        kept = [(row, score) for row, score in hits if row not in (exclude, -1)][:k]
        ids, titles = self.items["item_id"], self.items["title"]
        return [
            Neighbour(rank, ids.iloc[row], str(titles.iloc[row]), score)
            for rank, (row, score) in enumerate(kept, start=1)
        ]

    def search(
        self,
        vectors: Matrix,
        k: int,
        *,
        allowed: npt.NDArray[np.int64] | None = None,
        mapped: bool = True,
    ) -> tuple[Matrix, npt.NDArray[np.int64]]:
        """The `k` best items for each of some vectors, float32 [Q, d]: scores and rows, [Q, k].

        With `mapped` the vectors are items', or pooled from them, and the query map is applied.
        Only the rows `allowed` are found, where they are given: these are scored one by one. Row
        -1 stands where there are fewer.
        """
        queries = np.ascontiguousarray(self.query(vectors) if mapped else vectors)
        if allowed is None:
            scores, rows = self._index.search(queries, min(k, len(self.items)))
            return scores, rows
        products = queries @ self.vectors[allowed].T
        order = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, order, axis=1), allowed[order]

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


def load_published(root: Path, name: str, version: str | None = None) -> Published:
    """Open the current version of a data set, or the one named. Raises ArtifactError."""
    if version is not None:
        return open_version(named_version(root, name, version))
    current = current_version(root, name)
    try:
        return open_version(shelf(root, name) / current)
    except (ArtifactError, OSError):
        if current_version(root, name) == current:
            raise
        return load_published(root, name)  # pruned while it was read: there is a newer one


def open_version(path: Path) -> Published:
    """Open a version's folder, wherever it lies, after verifying every file's checksum."""
    manifest = open_artifact(path).manifest
    table = pq.read_table(path / EMBEDDINGS)
    items = table.select(["item_id", "title"]).to_pandas()
    flat = pa.concat_arrays([pc.list_flatten(chunk) for chunk in table.column("vector").chunks])
    vectors = flat.to_numpy(zero_copy_only=False).reshape(len(items), -1)
    return Published(path, manifest, items, vectors, read_query_map(path / "model"))
