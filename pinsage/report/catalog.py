"""The catalog as the report shows it: titles, categories, images, and groups to colour by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import Config
from pinsage.data.arrow import Column
from pinsage.errors import ArtifactError
from pinsage.evaluation.slices import slice_column
from pinsage.report.text import one_line

MOST_GROUPS = 8
OTHER, NONE = "other", "not given"
TITLE_WIDTH, VALUE_WIDTH = 120, 40
_SHOWN_VALUES = 3


@dataclass(frozen=True)
class Groups:
    """Every item's group, for colours.

    Attributes:
        column: the catalog column; None where the catalog has no category, and all are one group
        labels: the most frequent values first, then `other` and `not given` where there are such
        of: index into `labels`, by item
    """

    column: str | None
    labels: tuple[str, ...]
    of: tuple[int, ...]


@dataclass(frozen=True)
class Catalog:
    """Items by row; every text is as it came, and shortened where it is asked for.

    Attributes:
        ids: as text
        values: of the category column, by item; empty where there is no such column
        images: addresses as they came; empty where no image column is configured
    """

    ids: tuple[str, ...]
    titles: tuple[str | None, ...]
    column: str | None
    values: tuple[tuple[str, ...], ...]
    images: tuple[str | None, ...]

    @classmethod
    def open(cls, ingested: Path, config: Config) -> Catalog:
        """From items.parquet of the ingest artifact. Raises ArtifactError where it is broken."""
        file = ingested / "items.parquet"
        try:
            schema = pq.read_schema(file)
            column = slice_column(config.data, config.evaluation.slice_column)
            has_image = config.data.items is not None and config.data.items.image_column is not None
            wanted = ["item_id", "title", *([column] if column else [])]
            wanted += ["image"] if has_image and "image" in schema.names else []
            table = pq.read_table(file, columns=list(dict.fromkeys(wanted)))
        except (OSError, pa.ArrowException) as error:
            raise ArtifactError(f"{file}: cannot be read ({error}); run ingest again") from None
        separator = config.data.items.separator if config.data.items else ""
        return cls(
            ids=tuple(map(str, table["item_id"].to_pylist())),
            titles=tuple(table["title"].to_pylist()),
            column=column,
            values=_values(table[column], _splits(config, column), separator) if column else (),
            images=tuple(table["image"].to_pylist()) if "image" in wanted else (),
        )

    def __len__(self) -> int:
        """N, the number of items."""
        return len(self.ids)

    def title(self, row: int, width: int = TITLE_WIDTH) -> str:
        """An item's title on one line, or its id where it has none."""
        return one_line(self.titles[row] or self.ids[row], width)

    def categories(self, row: int) -> tuple[str, ...]:
        """An item's first values of the category column."""
        values = self.values[row][:_SHOWN_VALUES] if self.values else ()
        return tuple(one_line(value, VALUE_WIDTH) for value in values)

    def image(self, row: int) -> str | None:
        """Where an item's image is, if that is known."""
        return self.images[row] if self.images else None

    def groups(self) -> Groups:
        """The most frequent values of the category column; an item has its first of them."""
        if not self.values:
            return Groups(None, ("all items",), (0,) * len(self))
        counts = Counter(value for values in self.values for value in values)
        frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MOST_GROUPS]
        place = {value: index for index, value in enumerate(frequent)}
        other, none = len(frequent), len(frequent) + 1
        found = [
            next((place[value] for value in values if value in place), other if values else none)
            for values in self.values
        ]
        used = sorted(set(found) | set(place.values()))
        labels = [*(one_line(value, VALUE_WIDTH) for value in frequent), OTHER, NONE]
        renumbered = {group: index for index, group in enumerate(used)}
        return Groups(
            self.column,
            tuple(labels[group] for group in used),
            tuple(renumbered[group] for group in found),
        )


def _splits(config: Config, column: str | None) -> bool:
    features = config.data.items.features if config.data.items else {}
    return column is not None and features.get(column) == "multicategorical"


def _values(column: Column, splits: bool, separator: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(_split(value, splits, separator)) for value in column.to_pylist())


def _split(value: object, splits: bool, separator: str) -> Sequence[str]:
    if value is None:
        return ()
    if isinstance(value, list):
        return [str(each) for each in value if each not in (None, "")]
    parts = str(value).split(separator) if splits else [str(value)]
    return [part.strip() for part in parts if part.strip()]
