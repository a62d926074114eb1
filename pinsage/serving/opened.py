"""A version as the server holds it: open, warm, and never changed once requests see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from pinsage.errors import UnknownItemError
from pinsage.retrieval.published import Published, load_published, one_line
from pinsage.retrieval.users import best_rows

if TYPE_CHECKING:
    from pinsage.model.pinsage import PinSage

ItemId = int | str


@dataclass
class Opened:
    """One version with what answers are made of.

    Attributes:
        ids, titles: by row; an item without a title has None
    """

    published: Published
    ids: list[Any]
    titles: list[str | None]
    _model: PinSage | None = None
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def open(cls, root: Path, name: str, version: str | None, *, with_model: bool) -> Opened:
        """Open, verify and warm a version; the current one where none is named.

        With `with_model` the model for new items is loaded too, which takes torch. Raises
        ArtifactError where the version is damaged.
        """
        published = load_published(root, name, version)
        titles = published.items["title"]
        shown = [
            None if missing else str(title)
            for title, missing in zip(titles, titles.isna(), strict=True)
        ]
        opened = cls(published, published.items["item_id"].tolist(), shown)
        first = np.zeros(1, dtype=np.int64)
        best_rows(published, published.vectors[:1], first, 10, exclude=[first])
        opened.row(opened.ids[0])
        if with_model:
            opened.model()
        return opened

    @property
    def version(self) -> str:
        """Name of the version."""
        return self.published.version

    @property
    def index_kind(self) -> str:
        """How the index searches, as its manifest says."""
        return str(self.published.manifest.facts.get("index", {}).get("kind", "unknown"))

    @property
    def whole_numbers(self) -> bool:
        """Whether the catalog's ids are integers; else they are text."""
        return isinstance(self.ids[0], int)

    @property
    def has_model(self) -> bool:
        """Whether the model is in memory already."""
        return self._model is not None

    def model(self) -> PinSage:
        """The model that embeds new items; read once. Raises ArtifactError."""
        with self._lock:
            if self._model is None:
                import torch

                from pinsage.model.io import load_model

                torch.set_num_threads(1)  # requests run beside each other: one thread each
                self._model = load_model(self.published.path / "model")
            return self._model

    def row(self, item_id: ItemId) -> int:
        """Row of an item. Raises UnknownItemError, which says what ids look like.

        Where ids are integers their decimal digits do as well: JavaScript has no larger integers
        than 2^53.
        """
        row = self.find(item_id)
        if row is None:
            raise UnknownItemError(
                f"{one_line(repr(item_id))}: no such item among the {len(self.ids):,} of version "
                f"{self.version}; ids are {'integers' if self.whole_numbers else 'text'} like "
                f"{one_line(repr(self.ids[0]))}"
            )
        return row

    def find(self, item_id: ItemId) -> int | None:
        """Row of an item, None where there is no such item."""
        if self.whole_numbers and isinstance(item_id, str):
            digits = item_id.removeprefix("-")
            if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
                return None
            item_id = int(item_id) if str(int(item_id)) == item_id else item_id
        return self.published.row_by_id.get(item_id)

    def rows(self, item_ids: list[ItemId]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Rows of those items that the catalog has, each once and ascending, int64."""
        found = {row for each in item_ids if (row := self.find(each)) is not None}
        return np.array(sorted(found), dtype=np.int64)
