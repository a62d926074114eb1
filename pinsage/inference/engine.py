"""What an inference engine is asked for, and the protocol that all engines keep.

An engine carries the map and reduce of `pinsage/inference/layers.py`, which know no engine, over
all items: layer by layer, no node twice (PinSage §3.4). Engines differ in where blocks are
computed, never in what: rows are equal to the bit, or to 1e-5 where blocks are cut otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pinsage.config import EmbedConfig
from pinsage.errors import ConfigError

EMBEDDINGS = "embeddings.npy"


@dataclass(frozen=True)
class Job:
    """All items to embed; nothing but paths and settings, so that it travels to other processes.

    Attributes:
        model: folder of a saved model
        catalog: artifact whose `items.parquet` holds the feature columns, N rows
        graph: artifact of the graph, for the degree that features show
        table: artifact of the neighbourhoods, N rows
        root: folder of the run, for the cached vectors of texts
        scratch: folder for intermediates; it survives a kill, and may hold what one left
        settings: how
        threads: a process
    """

    model: Path
    catalog: Path
    graph: Path
    table: Path
    root: Path
    scratch: Path
    settings: EmbedConfig
    threads: int


class Engine(Protocol):
    """Embeds all items of a job."""

    def embed(self, job: Job, out: Path) -> None:
        """Write `embeddings.npy` into the folder `out`: float32 [N, output], in catalog order."""


def require_in_range(settings: EmbedConfig, *, is_finite: bool) -> None:
    """Raise ConfigError where embeddings are not finite because of how layers were stored.

    With other storage they are the contract's matter, which says which items they are of.
    """
    if settings.storage == "float16" and not is_finite:
        raise ConfigError(
            "embed.storage is float16, and some embeddings are not finite: this model has "
            "representations beyond 65,504, the largest float16; set it to bfloat16 or float32"
        )
