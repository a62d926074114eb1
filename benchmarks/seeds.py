"""The headline comparison over several seeds: what a single training's luck hides.

    python benchmarks/seeds.py [--config configs/movielens-100k.toml] [--seeds 5] [--root FOLDER]

A pair's value is its mean over the seeds, intervals are over users, differences paired. Baselines
are those of the first seed, tuned on validation as ever. What a run has made already is found in
the store of the configuration (`root`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from _timing import print_table

from pinsage import stages
from pinsage.ablation import stages as ablation
from pinsage.ablation.comparison import Comparison
from pinsage.ablation.ranks import read_ranks
from pinsage.config import Config, changed, load_config
from pinsage.evaluation.bootstrap import Interval
from pinsage.evaluation.metrics import Ranks
from pinsage.evaluation.stage import MODEL, PERIODS
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.store import Artifact, Store

_DEMO = Path(__file__).parents[1] / "configs" / "movielens-100k.toml"
_HEADER = ("method", "headline", "− PinSage", "MRR", "− PinSage", "by seed")


def main() -> None:
    """Train with every seed, and print a table a period, all pairs and cold ones."""
    options = _options()
    config = load_config(options.config or [_DEMO], tuple(options.set))
    with tempfile.TemporaryDirectory() as temporary:
        _run(changed(config, {"root": str(options.root or temporary)}), options.seeds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--config", action="append", type=Path, help="default: MovieLens-100K")
    parser.add_argument("--set", action="append", default=[], help="group.key=value")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--root", type=Path, help="a store to keep; a temporary one if not given")
    return parser.parse_args()


def _run(config: Config, seeds: int) -> None:
    store = Store(config.root)
    ingested = stages.ingest(config, store, stages.snapshot(config, store))
    parts = stages.split(config, store, ingested)
    built = stages.graph(config, store, parts, parts)
    table = stages.neighbourhoods(config, store, built, parts)
    trained = stages.train(config, store, parts, built, table)
    judged = stages.evaluate(config, store, parts, built, table, trained)
    ranked = [
        _ranks(changed(config, {"seed": config.seed + number}), store, parts, built)
        for number in range(seeds)
    ]
    for period in PERIODS:
        _print(config, period, judged, ranked, BipartiteGraph.open(built.path).item_degree)


def _ranks(config: Config, store: Store, parts: Artifact, built: Artifact) -> Artifact:
    table = stages.neighbourhoods(config, store, built, parts)
    trained = stages.train(config, store, parts, built, table)
    epoch, took = trained.facts["best_epoch"], trained.manifest.seconds
    print(
        f"seed {config.seed}: epoch {epoch} of {trained.facts['epochs']}, {took:.0f} s", flush=True
    )
    return ablation.rank(config, store, parts, built, table, trained)


def _print(
    config: Config,
    period: str,
    judged: Artifact,
    ranked: list[Artifact],
    degree: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> None:
    rows = pq.read_table(judged.file("ranks.parquet"), filters=[("period", "=", period)])
    users = rows["user_row"].to_numpy()
    cold = degree[rows["positive_row"].to_numpy()] == 0
    for name, chosen in (("all pairs", np.ones(len(users), dtype=np.bool_)), ("cold", cold)):
        ranks: dict[str, list[Ranks]] = {
            method: [rows[method].to_numpy()[chosen]]
            for method in rows.column_names
            if method not in ("period", "user_row", "query_row", "positive_row", "timestamp", MODEL)
        }
        ranks[MODEL] = [read_ranks(each.file(f"{period}.parquet"))[1][chosen] for each in ranked]
        if not chosen.any():
            continue
        found = Comparison.of(
            ranks, users[chosen], reference=MODEL, config=config, num_items=len(degree)
        )
        title = f"{PERIODS[period]}, {name}: {found.num_pairs} pairs of {found.num_users} users"
        metrics = (found.headline, "mrr")
        print_table(title, _HEADER, [_row(found, method, metrics) for method in found.variants])


def _row(found: Comparison, method: str, metrics: tuple[str, str]) -> tuple[str, ...]:
    cells = [method]
    for metric in metrics:
        cells += [f"{found.get(method, metric).value:.4f}", ""]
        if method != MODEL:
            cells[-1] = _signed(found.difference(method, metric))
    seeds = (" ".join(f"{v:.4f}" for v in found.by_seed[method, metric]) for metric in metrics)
    return (*cells, " / ".join(seeds) if method == MODEL else "")


def _signed(each: Interval) -> str:
    return f"{each.value:+.4f} ({each.low:+.4f} to {each.high:+.4f})"


if __name__ == "__main__":
    main()
