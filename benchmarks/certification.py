"""Our metrics, baselines and model on a published split, beside the published figures.

    python benchmarks/certification.py [PATH] [--only METHOD …] [--tune METHOD …]

PATH is a Parquet file with user, item (rows from 0) and split (train, test); by default Gowalla as
NGCF and LightGCN split it. `--tune` prints how the settings compare on a tenth of each user's
training items; the test items play no part in any choice.

Published figures: popularity from the split's own page, item-kNN (there ItemCF) and EASE from the
logs of the BARS leaderboard (github.com/reczoo/BARS, matching/, gowalla_m1) with the settings that
stand there, PinSage as NGCF's authors ran it (users as nodes, 64 dimensions).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from _split_training import Settings, train
from _timing import commit

from pinsage.evaluation.baselines.ease import EASEScorer
from pinsage.evaluation.user_scorers import EASEUsers, ItemKNNUsers, PopularityUsers
from pinsage.evaluation.users import UserScorer, UserSplit, evaluate_users
from pinsage.measure import Meter
from pinsage.training.loop import EpochReport

_GOWALLA = Path(__file__).parents[2] / "shared" / "data" / "gowalla" / "interactions.parquet"
_VALIDATION_SHARE, _SEED, _K = 0.1, 2018, 20
_TUNED_EASE_ITEMS = 8_192  # a λ is tried in seconds on these, and in minutes on all
_PINSAGE = Settings(
    {
        "neighbourhoods": {"size": 10, "walks": 100},
        "model": {"layers": 1, "hidden": 64, "output": 64, "id_dropout": 0.0},
        "negatives": {"shared": 1000},
        "training": {"epochs": 3, "batch_size": 2048, "margin": 0.3},
    },
    orders=2,
)


def _ease(split: UserSplit, regularization: float, num_items: int) -> UserScorer:
    return EASEUsers(EASEScorer.of(split.train, regularization, num_items), split.train)


@dataclass(frozen=True)
class Method:
    """A row of the table; None where no figure was published."""

    settings: str
    recall: float
    ndcg: float | None
    build: Callable[[UserSplit], UserScorer]


_METHODS = {
    "popularity": Method("", 0.0416, None, lambda split: PopularityUsers(split.train)),
    "item-kNN": Method(
        "100 neighbours, weighted mean", 0.156994, 0.121364,
        lambda split: ItemKNNUsers.of(split.train, 100, shrink=0.0, weighted_mean=True),
    ),
    "EASE": Method(
        "λ = 80, all items", 0.176493, 0.146657,
        lambda split: _ease(split, 80.0, split.train.num_items),
    ),
    "PinSage": Method(
        "see docs/results.md", 0.1380, 0.1196,
        lambda split: train(_PINSAGE, split, _print_epoch, choose=False),
    ),
}  # fmt: skip


def main() -> None:
    """Print the table, or the comparison of settings."""
    arguments = _arguments()
    if not arguments.path.exists():
        print(f"{arguments.path}: no such file, so nothing is certified; name a split as PATH")
        return
    split = UserSplit.read(arguments.path)
    if arguments.tune:
        held = split.hold_out(_VALIDATION_SHARE, _SEED)
        for method in arguments.tune:
            _print_table(("settings", "Recall@20", "NDCG@20"), list(_TRIALS[method](held)))
        return
    rows = [_certify(name, split) for name in arguments.only or _METHODS]
    columns = ("method", "Recall@20", "published", "Δ", "NDCG@20", "published", "Δ", "s", "MiB")
    print(f"{len(split.train.item_degree):,} items, {split.train.num_contexts:,} users, {commit()}")
    _print_table(columns, rows)


def _certify(name: str, split: UserSplit) -> list[str]:
    method = _METHODS[name]
    with Meter() as meter:
        found = evaluate_users(method.build(split), split, k=_K)
    recall, ndcg = float(found.recall.mean()), float(found.ndcg.mean())
    return [
        name, *_beside(recall, method.recall), *_beside(ndcg, method.ndcg),
        f"{meter.seconds:.0f}", f"{meter.peak_mib:,.0f}",
    ]  # fmt: skip


def _beside(ours: float, published: float | None) -> list[str]:
    if published is None:
        return [f"{ours:.4f}", "–", "–"]
    return [f"{ours:.4f}", f"{published:.4f}", f"{ours / published - 1:+.2%}"]


def _knn_trials(held: UserSplit) -> Iterator[list[str]]:
    for neighbours, shrink, mean in product((20, 50, 100, 200), (0.0, 5.0), (True, False)):
        scorer = ItemKNNUsers.of(held.train, neighbours, shrink=shrink, weighted_mean=mean)
        kind = "weighted mean" if mean else "sum"
        yield [f"{neighbours} neighbours, shrink {shrink:g}, {kind}", *_measured(scorer, held)]


def _ease_trials(held: UserSplit) -> Iterator[list[str]]:
    for regularization in (20.0, 50.0, 80.0, 150.0, 300.0):
        label = f"λ = {regularization:g}, {_TUNED_EASE_ITEMS:,} items"
        yield [label, *_measured(_ease(held, regularization, _TUNED_EASE_ITEMS), held)]


def _pinsage_trials(held: UserSplit) -> Iterator[list[str]]:
    yield ["as in the table", *_measured(train(_PINSAGE, held, _print_epoch, choose=True), held)]


def _measured(scorer: UserScorer, held: UserSplit) -> list[str]:
    found = evaluate_users(scorer, held, k=_K)
    return [f"{found.recall.mean():.4f}", f"{found.ndcg.mean():.4f}"]


_TRIALS = {"item-kNN": _knn_trials, "EASE": _ease_trials, "PinSage": _pinsage_trials}


def _print_epoch(report: EpochReport) -> None:
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    loss = "–" if report.loss is None else f"{report.loss:.4f}"
    print(f"epoch {report.epoch}: loss {loss}, {metrics}, {report.seconds:.0f} s")


def _print_table(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    lines = [list(columns), ["---"] * len(columns), *rows]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Certify metrics and baselines on a split.")
    parser.add_argument("path", type=Path, nargs="?", default=_GOWALLA, metavar="PATH")
    parser.add_argument("--only", nargs="+", choices=list(_METHODS), metavar="METHOD")
    parser.add_argument("--tune", nargs="+", choices=list(_TRIALS), metavar="METHOD")
    return parser.parse_args()


if __name__ == "__main__":
    main()
