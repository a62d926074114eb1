"""A whole run's artifacts for a small synthetic catalog, written as the stages write them.

The ranks are drawn, not computed, so that any outcome of an evaluation can be shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pinsage.config import Baseline, Config, parse_config
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.report.inputs import Contract, Provenance, ReportInputs, StageCost
from pinsage.store import MANIFEST, Manifest, inventory

METHODS = ("PinSage", *get_args(Baseline))
KS = (10, 50, 100)
NUM_ITEMS, NUM_USERS, NUM_PAIRS = 300, 60, 900
GENRES = ("Drama", "Comedy", "Thriller", "Western")
# How good each method is: the exponent that draws its ranks.
SKILL = {
    "PinSage": 2.6, "random": 1.0, "popularity": 1.5, "item-kNN": 2.2, "transitions": 2.0,
    "Pixie": 2.3, "EASE": 2.25, "ALS": 1.9, "BPR": 1.7, "item2vec": 1.8, "content-kNN": 1.3,
}  # fmt: skip

Ranks = Mapping[str, npt.NDArray[np.float64]]
Labels = Mapping[str, npt.NDArray[np.str_]]
MakeInputs = Callable[..., ReportInputs]
WriteVersion = Callable[[Path, list[Any], list[str], npt.NDArray[np.float32]], Path]


def named(metric: str, k: int | None) -> str:
    """`hit_rate_100`, `mrr`."""
    return f"{metric}_{k}" if k else metric


def period_rows(
    period: str, ranks: Ranks, labels: Labels, users: npt.NDArray[np.int64], num_items: int,
    ks: tuple[int, ...], block: int, resamples: int,
) -> tuple[list[dict[str, Any]], dict[str, npt.NDArray[np.float64]]]:  # fmt: skip
    """Rows of results.parquet, and the replicates [R] of the numbers on all pairs by name."""
    curve = {*ks, *np.geomspace(1, num_items - 1, 40).round().astype(int).tolist()}
    index = np.unique(users, return_inverse=True)[1]
    drawn = np.random.default_rng(5).integers(0, index.max() + 1, (resamples, index.max() + 1))
    weights = np.stack([np.bincount(row, minlength=index.max() + 1) for row in drawn])
    everything = {"all": np.full(len(users), "all")}
    rows, replicates = [], {}
    for dimension, of in {**everything, **labels}.items():
        cutoffs = curve if dimension == "all" else ks
        parts = sorted(set(of.tolist()), key=lambda part: (len(part), part))
        for part in parts:
            mask = of == part
            counts = weights @ np.bincount(index, mask.astype(float), weights.shape[1])
            for method, rank in ranks.items():
                values = {("hit_rate", k): rank <= k for k in sorted(cutoffs)}
                values |= {("mrr", None): 1 / rank, ("mrr_scaled", None): 1 / np.ceil(rank / block)}
                for (metric, k), value in values.items():
                    sums = weights @ np.bincount(index, value * mask, weights.shape[1])
                    means = sums / np.maximum(counts, 1)
                    low, high = np.quantile(means, (0.025, 0.975))
                    if dimension == "all":
                        replicates[f"{method} {named(metric, k)}"] = means
                    rows.append({
                        "period": period, "method": method, "dimension": dimension, "slice": part,
                        "metric": metric, "k": k, "chance": k / num_items if k else None,
                        "value": float(value[mask].mean()), "low": float(low),
                        "high": float(high), "num_pairs": int(mask.sum()),
                    })  # fmt: skip
    return rows, replicates


def write_evaluated(
    folder: Path, periods: Mapping[str, tuple[Ranks, Labels, npt.NDArray[np.int64]]],
    num_items: int, ks: tuple[int, ...], *, block: int = 4, resamples: int = 200,
    beyond: Mapping[str, Mapping[str, float]] | None = None,
) -> None:  # fmt: skip
    """Write metrics.json and results.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {"facts": {"num_items": num_items, "mrr_block": block}}
    headline = max(k for k in ks if k <= 100)
    for period, (ranks, labels, users) in periods.items():
        found, replicates = period_rows(
            period, ranks, labels, users, num_items, ks, block, resamples
        )
        rows += found
        value = {
            f"{row['method']} {named(row['metric'], row['k'])}": row["value"]
            for row in found
            if row["dimension"] == "all"
        }
        for metric in (f"hit_rate_{headline}", "mrr", "mrr_scaled"):
            best = max((m for m in ranks if m != "PinSage"), key=lambda m: value[f"{m} {metric}"])
            own, rival = f"PinSage {metric}", f"{best} {metric}"
            low, high = np.quantile(replicates[own] - replicates[rival], (0.025, 0.975))
            lift = f"{period}_lift_{metric}"
            metrics["facts"] |= {
                lift: value[own] - value[rival], f"{lift}_low": low, f"{lift}_high": high,
            }  # fmt: skip
        metrics[period] = {
            "num_pairs": len(users), "num_users": len(set(users.tolist())), "num_queries": 40,
            "num_items": num_items, "mrr_block": block, "confidence": 0.95,
            "chance": {f"hit_rate_{k}": k / num_items for k in ks},
            "beyond": beyond or {
                method: {"coverage": 0.5, "gini": 0.6, "popularity": 40.0, "novelty": 8.1,
                         "diversity": 0.7}
                for method in ranks
            },
        }  # fmt: skip
    metrics["tuning"] = [
        {"baseline": "item-kNN", "settings": {"shrink": shrink},
         "hit_rate": 0.4 + shrink / 1000, "mrr": 0.05, "chosen": shrink == 20.0}
        for shrink in (0.0, 5.0, 20.0)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "results.parquet")
    (folder / "metrics.json").write_text(json.dumps(metrics))


def write_history(folder: Path, epochs: int = 6) -> None:
    """Write history.json."""
    folder.mkdir(parents=True, exist_ok=True)
    history = [
        {"epoch": n, "step": 100 * n, "loss": 0.05 / n, "learning_rate": 0.002, "seconds": 3.0,
         "metrics": {"hit_rate_10": 0.1, "hit_rate_100": 0.5 - abs(n - 4) / 50, "mrr": 0.05}}
        for n in range(1, epochs + 1)
    ]  # fmt: skip
    (folder / "history.json").write_text(json.dumps(history))


def write_architecture(folder: Path) -> None:
    """What a model's folder says of it: no map for queries."""
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text(json.dumps({"model": {"output": 8}}))


def published_version(
    folder: Path, ids: list[Any], titles: list[str], vectors: npt.NDArray[np.float32]
) -> Path:
    """A published version as consumers open it, without an index and weights."""
    (folder / "embeddings").mkdir(parents=True)
    write_architecture(folder)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    table = pa.table({"item_id": ids, "title": titles, "vector": flat})
    pq.write_table(table, folder / "embeddings" / "part-00000.parquet")
    manifest = Manifest(
        stage="publish", key="0", version="0", created="2026-01-30T02:00:00+00:00", settings={},
        inputs={}, code="0", files=inventory(folder),
    )  # fmt: skip
    (folder / MANIFEST).write_text(manifest.to_json())
    return folder


def drawn_period(
    seed: int, skill: Mapping[str, float]
) -> tuple[Ranks, Labels, npt.NDArray[np.int64]]:
    """Ranks of every method, labels of every dimension, and users of 900 pairs."""
    rng = np.random.default_rng(seed)
    base = rng.random(NUM_PAIRS)
    ranks = {
        method: np.ceil((0.6 * base + 0.4 * rng.random(NUM_PAIRS)) ** power * (NUM_ITEMS - 1) + 0.5)
        for method, power in skill.items()
    }
    labels = {
        "support": rng.choice(["warm", "rare", "cold"], NUM_PAIRS, p=[0.8, 0.15, 0.05]),
        "popularity": rng.integers(1, 11, NUM_PAIRS).astype(str),
        "genre": rng.choice(GENRES, NUM_PAIRS, p=[0.5, 0.3, 0.15, 0.05]),
        "time": rng.integers(1, 6, NUM_PAIRS).astype(str),
    }
    return ranks, labels, rng.integers(0, NUM_USERS, NUM_PAIRS)


def make_config(folder: Path, **changes: Any) -> Config:
    """The configuration that the synthetic artifacts were made with."""
    tree: dict[str, Any] = {
        "name": "synthetic",
        "root": str(folder),
        "data": {
            "interactions": {"path": str(folder / "log.csv")},
            "items": {
                "path": str(folder / "items.csv"),
                "title_column": "title",
                "features": {"title": "text", "genre": "multicategorical"},
            },
        },
        "evaluation": {"ks": list(KS)},
        "report": {"map_points": 100, "neighbours": 5},
    }
    tree["data"]["items"] |= changes.pop("items", {})
    for key, value in changes.items():
        tree[key] = {**tree.get(key, {}), **value}
    return parse_config(tree)


def catalog_frame(titles: Mapping[int, str], genres: Mapping[int, str]) -> pd.DataFrame:
    """300 items i0, i1, …; some have two genres, every seventh none."""
    usual = [
        "" if n % 7 == 6 else "|".join({GENRES[n % 4]: 0, GENRES[n % 3]: 0})
        for n in range(NUM_ITEMS)
    ]
    return pd.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(NUM_ITEMS)],
            "title": [titles.get(n, f"Tale {n}") for n in range(NUM_ITEMS)],
            "genre": [genres.get(n, usual[n]) for n in range(NUM_ITEMS)],
        }
    )


def contracts() -> tuple[Contract, ...]:
    """One contract kept, one with a warning."""

    def outcome(column: str, success: bool, critical: bool = True) -> dict[str, Any]:
        return {
            "suite": "items", "success": success, "critical": critical, "table": "items",
            "expectation": "expect_column_values_to_not_be_null", "column": column,
            "found": "3 of 300 rows (1%)" if not success else "0 of 300 rows (0%)",
            "expected": f"every item has a {column}", "count": 0 if success else 3, "rows": [],
            "hint": "fill it in",
        }  # fmt: skip

    return (
        Contract("Interactions and items", True, (outcome("title", True), outcome("genre", True))),
        Contract("Embeddings", True, (outcome("norm", True), outcome("spread", False, False))),
    )


def _write_graph(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(3)
    items = (rng.random(4000) ** 3 * (NUM_ITEMS - 20)).astype(np.int32)
    users = rng.integers(0, NUM_USERS, 4000).astype(np.int32)
    graph = BipartiteGraph.from_edges(items, users, num_items=NUM_ITEMS, num_contexts=NUM_USERS)
    graph.save(folder)


@pytest.fixture(scope="session")
def make_inputs(tmp_path_factory: pytest.TempPathFactory) -> MakeInputs:
    """`make_inputs(titles={row: text}, skill={…}, champion=…, images={row: text}, **config)`.

    Groups of the configuration are merged into it; `items` is the group `data.items`.
    """

    def make(
        titles: Mapping[int, str] | None = None,
        skill: Mapping[str, float] | None = None,
        champion: Path | None = None,
        images: Mapping[int, str] | None = None,
        genres: Mapping[int, str] | None = None,
        **changes: Any,
    ) -> ReportInputs:
        folder = tmp_path_factory.mktemp("run")
        config = make_config(folder, **changes)
        chosen = {**SKILL, **(skill or {})}
        periods = {"valid": drawn_period(1, chosen), "test": drawn_period(2, chosen)}
        write_evaluated(folder / "evaluated", periods, NUM_ITEMS, KS)
        write_history(folder / "trained")
        write_architecture(folder / "trained")
        (folder / "ingested").mkdir()
        frame = catalog_frame(titles or {}, genres or {})
        if images is not None:
            frame["image"] = [images.get(n) for n in range(NUM_ITEMS)]
        frame.to_parquet(folder / "ingested" / "items.parquet")
        _write_graph(folder / "graph")
        vectors = np.random.default_rng(4).standard_normal((NUM_ITEMS, 8)).astype(np.float32)
        np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        return ReportInputs(
            config=config,
            evaluated=folder / "evaluated",
            trained=folder / "trained",
            ingested=folder / "ingested",
            ingest_facts={
                "num_interactions": 4000, "num_users": NUM_USERS, "num_items": NUM_ITEMS,
                "num_quarantined": 3, "quarantined_by_reason": {"missing user id": 3},
                "num_duplicates": 12, "num_duplicate_items": 0, "num_items_without_id": 0,
                "first_time": "1997-09-20T03:05:10+00:00",
                "last_time": "1998-04-22T23:10:38+00:00",
            },
            split_facts={
                "valid_from": "1998-02-01T00:00:00+00:00", "test_from": "1998-03-01T00:00:00+00:00",
                "num_train": 2800, "num_valid": 400, "num_test": 800,
            },
            graph=folder / "graph",
            vectors=folder / "vectors.npy",
            contracts=contracts(),
            champion=champion,
            provenance=Provenance(
                created="2026-01-31T02:00:00+00:00",
                code="0.3.0",
                data="0123456789abcdef",
                stages=(
                    StageCost("ingest", 1.2, 310.0, reused=True),
                    StageCost("train", 75.0, 900.0),
                ),
                packages={"torch": "2.13.0", "numpy": "2.4.6"},
            ),
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def write_version() -> WriteVersion:
    """`write_version(folder, ids, titles, vectors)` writes a published version."""
    return published_version
