"""How should a user search? Hit-rates of the next item, on the validation period alone.

    python benchmarks/contexts.py CONFIG [ROOT]     default: configs/movielens-100k.toml, var

Every interaction of the validation period whose user took something before is to be found, by what
the user had taken until then, among all items that the user had not. The model is the one that the
configuration trains on the training period (found below ROOT, or trained).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from _timing import print_table

from pinsage import stages
from pinsage.config import Config, ContextsConfig, load_config
from pinsage.contexts.pooling import Histories, Matrix, Pooled, pool
from pinsage.model.query import QueryMap, read_query_map
from pinsage.store import Store

_CUTS = (10, 50, 100)


@dataclass(frozen=True)
class Asked:
    """What is to be found: an item for each history."""

    histories: Histories
    targets: npt.NDArray[np.int32]


def main(config_file: str, root: str) -> None:
    """A table of hit-rates and MRR, a row for each way to search."""
    config = load_config(config_file, (f"root={root}",))
    split, embeddings, query = _trained(config)
    asked = _asked(split)
    rows = []
    for label, settings in _ways():
        pooled = pool(asked.histories, embeddings, settings)
        rows.append((label, *_measure(asked, pooled, query(pooled.vectors), embeddings)))
        if settings == ContextsConfig(newest=10):
            mapped = pool(asked.histories, query(embeddings), settings)
            rows.append(("  mapped, then pooled", *_measure(asked, mapped, mapped.vectors,
                                                             embeddings)))  # fmt: skip
    print_table(
        f"Next items of {config.name} found ({len(asked.targets):,} of the validation period)",
        ("user searches with", *(f"hit-rate@{k}" for k in _CUTS), "MRR", "vectors a user"),
        rows,
    )


def _trained(config: Config) -> tuple[Path, Matrix, QueryMap]:
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    parts = stages.split(config, store, ingested)
    built = stages.graph(config, store, parts, parts)
    table = stages.neighbourhoods(config, store, built, parts)
    model = stages.train(config, store, parts, built, table)
    embedded = stages.embed(config, store, parts, built, table, model)
    return (
        parts.path,
        np.load(embedded.file("embeddings.npy")),
        read_query_map(model.path / "model"),
    )


def _ways() -> Iterator[tuple[str, ContextsConfig]]:
    everything = 2000
    yield "the last item", ContextsConfig(newest=1)
    for newest in (2, 3, 5, 10, 30, 100, everything):
        yield f"mean of the newest {newest}", ContextsConfig(newest=newest)
    for days in (0.01, 0.1, 1):
        yield f"mean, half-life {days} d", ContextsConfig(newest=everything, half_life_days=days)
    yield "mean of 10 by rating", ContextsConfig(newest=10, by_weight=True)
    yield "mean of 10, half-life 0.1 d", ContextsConfig(newest=10, half_life_days=0.1)
    for newest, most, spread in ((10, 2, 0.5), (10, 3, 0.5), (10, 3, 1.0), (30, 3, 1.0)):
        label = f"{most} medoids of {newest}, spread {spread}"
        yield label, ContextsConfig(pool="medoids", newest=newest, medoids=most, spread=spread)


def _asked(split: Path) -> Asked:
    names = ["user_row", "item_row", "timestamp", "weight"]
    past, late = (pq.read_table(split / f"{part}.parquet", columns=names) for part in
                  ("train", "valid"))  # fmt: skip
    user, item, time, weight = (
        np.concatenate([past[name].to_numpy(), late[name].to_numpy()]) for name in names
    )
    order = np.lexsort((np.arange(len(user)), user))  # in time, as the files are
    user, item, time, weight = user[order], item[order], time[order], weight[order]
    starts = np.searchsorted(user, user)
    before = starts.copy()
    for place, start in enumerate(starts):
        before[place] += np.searchsorted(time[start:place], time[place])
    wanted = np.flatnonzero((order >= len(past)) & (before > starts))
    sizes = before[wanted] - starts[wanted]
    entries = np.concatenate([np.arange(starts[w], before[w]) for w in wanted])
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    histories = Histories(indptr, item[entries], time[entries], weight[entries])
    return Asked(histories, item[wanted])


def _measure(
    asked: Asked, pooled: Pooled, queries: Matrix, embeddings: Matrix
) -> tuple[float, ...]:
    """Hit-rates, MRR and vectors a user; an item's score is the best of the user's vectors'."""
    ranks = np.empty(len(asked.targets))
    bounds = np.searchsorted(pooled.context, np.arange(len(asked.targets) + 1))
    indptr, items = asked.histories.indptr, asked.histories.items
    for row, target in enumerate(asked.targets):
        scores = (queries[bounds[row] : bounds[row + 1]] @ embeddings.T).max(axis=0)
        wanted = scores[target]
        scores[items[indptr[row] : indptr[row + 1]]] = -np.inf
        ranks[row] = 1 + (scores > wanted).sum() + ((scores == wanted).sum() - 1) / 2
    hits = (float((ranks <= k).mean()) for k in _CUTS)
    return (*hits, float((1 / ranks).mean()), len(queries) / len(ranks))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*given, *("configs/movielens-100k.toml", "var")[len(given) :])
