"""Global temporal split: training, validation and test are three stretches of time.

Interactions of one timestamp never lie on two sides of a cut, and nothing that comes after the
last cut changes what was written about the time before it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import SplitConfig
from pinsage.data.times import iso, microseconds
from pinsage.errors import SourceError
from pinsage.store import Facts

PARTS = ("train", "valid", "test")


def write_split(ingested: Path, config: SplitConfig, out: Path, *, has_catalog: bool) -> Facts:
    """Cut interactions (sorted by time) into train, valid and test.parquet below `out`.

    The cuts are the configured times, else: training lies before the timestamp at `train_share`
    of the sorted rows, the test from the one at `train_share + valid_share` on. items.parquet is
    the catalog as it may be known when the test begins: all of it, or without one the items seen
    by then. Returns valid_from and test_from (ISO), seen_until (the last time before the test,
    ISO), num_items, num_train, num_valid, num_test. Raises SourceError where a part would be empty.
    """
    table = pq.read_table(ingested / "interactions.parquet")
    times = table["timestamp"].to_numpy()
    cuts = _cuts(times, config)
    bounds = [0, *np.searchsorted(times, cuts, side="left").tolist(), len(times)]
    sizes = np.diff(bounds).tolist()
    for part, size in zip(PARTS, sizes, strict=True):
        if size <= 0:
            raise SourceError(_advice(part, times, config))
    for part, start, size in zip(PARTS, bounds, sizes, strict=False):
        pq.write_table(table.slice(start, size).combine_chunks(), out / f"{part}.parquet")
    items = pq.read_table(ingested / "items.parquet")
    if not has_catalog:
        items = items.slice(0, _num_seen(table.slice(0, bounds[2])))
    pq.write_table(items.combine_chunks(), out / "items.parquet")
    return {
        "valid_from": iso(cuts[0]),
        "test_from": iso(cuts[1]),
        "seen_until": iso(int(times[bounds[2] - 1])),
        "num_items": len(items),
        **{f"num_{part}": size for part, size in zip(PARTS, sizes, strict=True)},
    }


def _cuts(times: npt.NDArray[np.int64], config: SplitConfig) -> list[int]:
    if config.valid_from is not None and config.test_from is not None:
        return [microseconds(config.valid_from), microseconds(config.test_from)]
    shares = (config.train_share, config.train_share + config.valid_share)
    # Rounding, not truncation: 0.7 + 0.1 is a little less than 0.8 in floating point.
    return [int(times[min(round(share * len(times)), len(times) - 1)]) for share in shares]


def _num_seen(past: pa.Table) -> int:
    # Without a catalog items are numbered in the order in which they first appear.
    return int(past["item_row"].to_numpy().max()) + 1


def _advice(part: str, times: npt.NDArray[np.int64], config: SplitConfig) -> str:
    if config.valid_from is not None:
        return (
            f"split: no interaction lies in the {part} part; split.valid_from "
            f"({config.valid_from}) and split.test_from ({config.test_from}) must leave three "
            f"parts of the time from {iso(int(times[0]))} to {iso(int(times[-1]))}"
        )
    share = "split.train_share" if part == "train" else "split.valid_share"
    value = config.train_share if part == "train" else config.valid_share
    remedy = f"raise {share} (now {value})"
    num_times = len(np.unique(times))
    if num_times < len(PARTS):
        remedy = f"{len(PARTS)} parts need at least {len(PARTS)} distinct times: use finer ones"
    return (
        f"split: the {part} part is empty, because {len(times):,} interactions have only "
        f"{num_times:,} distinct times and one time stays in one part; {remedy}"
    )
