"""Vectors of texts by a sentence model, each computed once and kept by the hash of its text.

    <root>/cache/text/<model>/<digest>.safetensors     keys uint8 [n, 16], vectors float32 [n, D]

A file is written once, whole, and named by the digest of its content: processes that share a
folder never touch each other's files, and a damaged one is found out, dropped and computed anew.
`<model>` is a digest of the weights and of the source code that runs them, so that no result of an
older version is taken for a newer one's. The folder may be deleted at any time.

Shapes: n texts, N items, D dimensions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pinsage.errors import ArtifactError
from pinsage.files import write_atomic
from pinsage.model.text import TextEncoder, installed_encoder, installed_files
from pinsage.store import code_digest, digest_of

Matrix = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Matrix]

_KEY = 16  # bytes
_FILE = 2048  # texts a file: what a killed run loses at most, some ten seconds
_log = logging.getLogger(__name__)


class TextVectors(Protocol):
    """Where vectors of texts come from."""

    def __call__(self, texts: Sequence[str], encoder: TextEncoder) -> Matrix:
        """Vectors of n texts, float32 [n, D]."""


class SentenceVectors:
    """Vectors out of memory, else out of the cache, else by the model.

    Args:
        folder: the cache; None keeps vectors in memory alone
        load: opens the model once it is needed
    """

    def __init__(
        self, folder: Path | None = None, load: Callable[[TextEncoder], Encode] | None = None
    ) -> None:
        self._folder = folder
        self._load = load or load_installed
        self._encode: dict[TextEncoder, Encode] = {}
        self._known: dict[bytes, Matrix] = {}

    @classmethod
    def below(cls, root: Path) -> SentenceVectors:
        """With the cache of a root."""
        return cls(root / "cache" / "text")

    def __call__(self, texts: Sequence[str], encoder: TextEncoder) -> Matrix:
        """Vectors of n texts, float32 [n, D]; each is the same whatever others there are.

        All that were asked for stay in memory, for the next call: 4 n D bytes.
        A cache that cannot be written is warned of. Raises what opening the model raises, where
        there is a text that is not in the cache.
        """
        keys = [key_of(text, encoder) for text in texts]
        self._recall({key for key in keys if key not in self._known}, encoder)
        missing = {k: text for k, text in zip(keys, texts, strict=True) if k not in self._known}
        self._compute(missing, encoder)
        found = [self._known[key] for key in keys]
        return np.stack(found) if found else np.empty((0, encoder.dim), dtype=np.float32)

    def _recall(self, wanted: set[bytes], encoder: TextEncoder) -> None:
        if self._folder is None or not wanted:
            return
        for file in sorted((self._folder / model_key(encoder)).glob("[!.]*.safetensors")):
            keys, vectors = _read(file, encoder.dim)
            rows = [row for row, key in enumerate(keys) if key in wanted]
            # A copy: a view would keep the whole file in memory for one of its rows.
            self._known.update(zip([keys[row] for row in rows], vectors[rows], strict=True))
            wanted.difference_update(keys)
            if not wanted:
                return

    def _compute(self, missing: dict[bytes, str], encoder: TextEncoder) -> None:
        keys = list(missing)
        for start in range(0, len(keys), _FILE):
            if encoder not in self._encode:
                self._encode[encoder] = self._load(encoder)
            chunk = keys[start : start + _FILE]
            vectors = self._encode[encoder]([missing[key] for key in chunk])
            self._known.update(zip(chunk, vectors, strict=True))
            self._keep(chunk, vectors, encoder)
            _log.info("computed vectors of %d of %d texts", start + len(chunk), len(keys))

    def _keep(self, keys: list[bytes], vectors: Matrix, encoder: TextEncoder) -> None:
        if self._folder is None:
            return
        codes = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(-1, _KEY)
        content = save({"keys": codes, "vectors": np.ascontiguousarray(vectors)})
        file = self._folder / model_key(encoder) / f"{_digest(content)}.safetensors"
        try:
            write_atomic(file, content)
        except (OSError, ArtifactError) as error:
            _log.warning("vectors of texts are not kept for another run: %s", error)


def vectors_of(cells: Iterable[Any], encoder: TextEncoder, texts: TextVectors | None) -> Matrix:
    """Vectors of the N cells of a column, float32 [N, D]; zeros for a missing or empty text."""
    said = ["" if _is_missing(cell) else str(cell).strip() for cell in cells]
    rows = [row for row, text in enumerate(said) if text]
    vectors = np.zeros((len(said), encoder.dim), dtype=np.float32)
    if rows:
        vectors[rows] = (texts or SentenceVectors())([said[row] for row in rows], encoder)
    return vectors


def load_installed(encoder: TextEncoder) -> Encode:
    """Open the installed model, which must be `encoder`.

    Raises MissingExtraError where none is installed, ArtifactError where it is another one or its
    files are damaged.
    """
    from pinsage.model.sentence import SentenceModel

    here = installed_encoder()
    if here != encoder:
        raise ArtifactError(
            f"texts were encoded by {encoder.encoder} with weights {encoder.weights[:12]}, and the "
            f"installed {here.encoder} has weights {here.weights[:12]}; install the release that "
            f"the model was trained with, or train again"
        )
    return SentenceModel.load(installed_files()).encode


def key_of(text: str, encoder: TextEncoder) -> bytes:
    """BLAKE2b of model and text, 16 bytes."""
    return blake2b(f"{model_key(encoder)}\n{text}".encode(), digest_size=_KEY).digest()


@cache
def model_key(encoder: TextEncoder) -> str:
    """Digest of a model and of the code that runs it."""
    return digest_of([asdict(encoder), code_digest(("pinsage.model.sentence",))])


def _read(file: Path, dim: int) -> tuple[list[bytes], Matrix]:
    """Keys and vectors of a file; none where it is damaged, and then it is removed."""
    try:
        content = file.read_bytes()
        if _digest(content) != file.stem:
            raise ValueError("its content does not match its checksum")
        tensors = load(content)
        keys, vectors = [key.tobytes() for key in tensors["keys"]], tensors["vectors"]
        if vectors.shape != (len(keys), dim):
            raise ValueError(f"expected {len(keys)} × {dim} numbers, got {vectors.shape}")
        return keys, vectors
    except FileNotFoundError:
        pass  # another process has found it damaged
    except OSError as error:
        _log.warning("%s: cannot be read, its texts are computed anew (%s)", file, error)
    except (ValueError, KeyError, SafetensorError) as error:
        _log.warning("%s: dropped, its texts are computed anew (%s)", file, error)
        _drop(file)
    return [], np.empty((0, dim), dtype=np.float32)


def _drop(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        pass  # of a folder that is only to be read; it will be passed over again


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()


def _is_missing(cell: Any) -> bool:
    return np.ndim(cell) == 0 and bool(pd.isna(cell))
