"""Bags of tokens: hashed n-grams of texts, and the values of multicategorical columns.

A bag is a row of a ragged array, its tokens sorted and distinct, so that the order in which a
sum runs over them is the same in every process. -1 marks a missing value.
"""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch_frame.data import MultiNestedTensor

_WORD = re.compile(r"\w+")
_GRAM = 4  # letters: long enough for word stems, short enough to bridge inflections


def hashed_text(texts: Iterable[Any], buckets: int) -> MultiNestedTensor:
    """Words, pairs of words and letter n-grams of each text, hashed to [0, buckets)."""
    return _ragged(
        sorted({zlib.crc32(gram.encode()) % buckets for gram in _grams(text)})
        for text in _present(texts)
    )


def known_values(
    cells: Iterable[Any], vocabulary: Sequence[str], separator: str
) -> MultiNestedTensor:
    """Positions in `vocabulary` of each cell's values; values not in it are left out."""
    position: Mapping[str, int] = {value: i for i, value in enumerate(vocabulary)}
    return _ragged(
        sorted({position[v] for v in values_of(cell, separator) if v in position})
        for cell in _present(cells)
    )


def vocabulary_of(cells: Iterable[Any], separator: str) -> list[str]:
    """All distinct values of a multicategorical column, sorted."""
    return sorted({v for cell in _present(cells) for v in values_of(cell, separator)})


def values_of(cell: Any, separator: str) -> list[str]:
    """Values of one cell: a separated string, or a list."""
    if cell is None:
        return []
    parts = cell.split(separator) if isinstance(cell, str) else cell
    return [text for part in parts if (text := str(part).strip())]


def _present(cells: Iterable[Any]) -> Iterator[Any]:
    """Cells with every kind of missing value as None."""
    for cell in cells:
        yield None if np.ndim(cell) == 0 and pd.isna(cell) else cell


def _grams(text: Any) -> Iterator[str]:
    words = _WORD.findall(str(text).lower()) if text is not None else []
    yield from words
    for left, right in pairwise(words):
        yield f"{left} {right}"
    for word in words:
        padded = f"<{word}>"
        for start in range(len(padded) - _GRAM + 1):
            yield padded[start : start + _GRAM]


def _ragged(rows: Iterable[list[int]]) -> MultiNestedTensor:
    # Typed arrays: a list takes 36 bytes a number, gigabytes for a million titles.
    values, offset = array("q"), array("q", [0])
    for row in rows:
        values.extend(row or [-1])
        offset.append(len(values))
    return MultiNestedTensor(
        num_rows=len(offset) - 1,
        num_cols=1,
        values=torch.from_numpy(np.array(values, dtype=np.int64)),
        offset=torch.from_numpy(np.array(offset, dtype=np.int64)),
    )
