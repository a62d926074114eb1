"""What every source of rows offers: a name for messages, and a stream of Arrow batches.

A column that is not there is an error that lists those there are; it is never read as nulls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Protocol

import pyarrow as pa

from pinsage.errors import SourceError

BATCH_ROWS = 1 << 17


class Table(Protocol):
    """Rows that can be streamed once or more."""

    @property
    def where(self) -> str:
        """Names the source in messages; carries no password."""
        ...

    @property
    def typed(self) -> bool:
        """Whether the source declares types. A CSV file does not: all its columns are strings."""
        ...

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Stream the named columns, in that order. Raises SourceError where they cannot be read."""
        ...


def require_columns(where: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    """Raise SourceError unless `found` has each of `wanted` exactly once."""
    for name in wanted:
        if name not in found:
            raise SourceError(
                f"{where}: has no column {name!r}{did_you_mean(name, found)} "
                f"(it has {listing(found)}); name the right column in the configuration"
            )
        if list(found).count(name) > 1:
            raise SourceError(
                f"{where}: has {list(found).count(name)} columns called {name!r}, and it is not "
                f"clear which is meant; rename all but one"
            )


def did_you_mean(name: str, found: Sequence[str]) -> str:
    """`; did you mean 'userId'?`, or nothing where no name is close."""
    by_folded = {other.casefold(): other for other in found}
    close = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f"; did you mean {by_folded[close[0]]!r}?" if close else ""


def listing(names: Sequence[str], most: int = 30) -> str:
    """The names for a message, quoted; beyond `most` they are counted."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
