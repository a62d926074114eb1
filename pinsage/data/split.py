"""Global temporal split: training, validation and test are three stretches of time.

Interactions of one timestamp never lie on two sides of a cut.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pinsage.config import SplitConfig
from pinsage.data.times import iso
from pinsage.errors import SourceError
from pinsage.store import Facts

PARTS = ("train", "valid", "test")


def write_split(interactions: Path, config: SplitConfig, out: Path) -> Facts:
    """Cut `interactions` (sorted by time) into train, valid and test.parquet below `out`.

    Training lies before the timestamp at `train_share` of the sorted rows, the test from the one
    at `train_share + valid_share` on. Returns valid_from and test_from (ISO), num_train,
    num_valid, num_test. Raises SourceError where a part would be empty.
    """
    table = pq.read_table(interactions)
    times = table["timestamp"].to_numpy()
    shares = (config.train_share, config.train_share + config.valid_share)
    # Rounding, not truncation: 0.7 + 0.1 is a little less than 0.8 in floating point.
    cuts = [int(times[min(round(share * len(times)), len(times) - 1)]) for share in shares]
    bounds = [0, *np.searchsorted(times, cuts, side="left").tolist(), len(times)]
    sizes = np.diff(bounds).tolist()
    for part, size in zip(PARTS, sizes, strict=True):
        if not size:
            raise SourceError(_advice(part, len(times), len(np.unique(times)), config))
    for part, start, size in zip(PARTS, bounds, sizes, strict=False):
        pq.write_table(table.slice(start, size).combine_chunks(), out / f"{part}.parquet")
    return {
        "valid_from": iso(cuts[0]),
        "test_from": iso(cuts[1]),
        **{f"num_{part}": size for part, size in zip(PARTS, sizes, strict=True)},
    }


def _advice(part: str, num_rows: int, num_times: int, config: SplitConfig) -> str:
    share = "split.train_share" if part == "train" else "split.valid_share"
    value = config.train_share if part == "train" else config.valid_share
    remedy = f"raise {share} (now {value})"
    if num_times < len(PARTS):
        remedy = f"{len(PARTS)} parts need at least {len(PARTS)} distinct times: use finer ones"
    return (
        f"split: the {part} part is empty, because {num_rows:,} interactions have only "
        f"{num_times:,} distinct times and one time stays in one part; {remedy}"
    )
