"""The evaluate stage: a trained model beside the baselines, on the validation and test periods.

Baselines are built on the training period only and tuned on validation; the test period is only
ever measured.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import Config
from pinsage.content.columns import Content
from pinsage.data.pairs import Pairs, consecutive_pairs
from pinsage.evaluation.baselines import Evidence, content_vectors, require_packages
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.exact import Vectors
from pinsage.evaluation.metrics import headline_metric
from pinsage.evaluation.protocol import rank_all, summarise
from pinsage.evaluation.ranking import Ranking
from pinsage.evaluation.results import Catalog, Results
from pinsage.evaluation.slices import SUPPORT, Part, categories_of
from pinsage.evaluation.table import slices_to_markdown, to_json, to_markdown, to_rows
from pinsage.evaluation.tuning import Trial, build_baselines
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.model.query import read_query_map
from pinsage.store import Facts

MODEL = "PinSage"
PERIODS = {"valid": "Validation", "test": "Test"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Period:
    pairs: Pairs
    num_unknown: int
    rankings: dict[str, Ranking]
    results: Results


def write_evaluation(
    config: Config, parts: Path, graph: Path, table: Path, trained: Path, out: Path
) -> Facts:
    """Write tables, the rank of every pair, what was tuned, and the evaluated embeddings.

    Into metrics.json, results.parquet, table.md and slices.md; ranks.parquet; tuning.json; and
    embeddings.npy. All paths are artifact folders; `graph` and `table` are those of the training
    period. Returns flat headline numbers. Raises ContractError where a period has no pair.
    """
    from pinsage.inference.local import embed_trained, read_items  # imports torch

    require_packages(config.evaluation)
    embeddings = embed_trained(config, parts, graph, table, trained)
    built = all_interactions(config, parts, BipartiteGraph.open(graph))
    items = read_items(parts)
    pairs = {period: read_pairs(parts, period, built.num_items) for period in PERIODS}
    evidence = training_evidence(config, parts, built, items)
    content = evidence.content
    baselines, trials = build_baselines(
        evidence, pairs["valid"][0], config.evaluation, config.training.choose_by
    )
    scorers = [*baselines, trained_scorer(config, trained, embeddings)]
    catalog = Catalog(
        degree=built.item_degree,
        num_contexts=built.num_contexts,
        categories=categories_of(
            items, built.item_degree, config.data, config.evaluation.slice_column
        ),
        content=None if content is None else content_vectors(content, seed=config.seed),
    )
    periods = {}
    for period, (known, num_unknown) in pairs.items():
        rankings = rank_all(scorers, known, catalog.num_items, config.evaluation.block)
        results = summarise(rankings, known, catalog, config=config.evaluation, seed=config.seed)
        periods[period] = _Period(known, num_unknown, rankings, results)
    np.save(out / "embeddings.npy", embeddings)
    _write(periods, trials, out)
    return headline_facts({name: period.results for name, period in periods.items()})


def all_interactions(config: Config, parts: Path, graph: BipartiteGraph) -> BipartiteGraph:
    """The training period's graph with every interaction: what rivals and slices go by.

    That is `graph`, unless the settings that it was built with leave edges out: what PinSage does
    without must not weaken those that it is compared with.
    """
    if not config.graph.leaves_out:
        return graph
    table = pq.read_table(parts / "train.parquet", columns=["item_row", "user_row"])
    items, contexts = (table[name].to_numpy() for name in table.column_names)
    num_contexts = int(contexts.max()) + 1 if len(contexts) else 0
    return BipartiteGraph.from_edges(
        items, contexts, num_items=graph.num_items, num_contexts=num_contexts
    )


def training_evidence(
    config: Config, parts: Path, built: BipartiteGraph, items: pd.DataFrame
) -> Evidence:
    """What baselines are built on: the training period and the catalog known at its end."""
    return Evidence(
        graph=built,
        interactions=parts / "train.parquet",
        content=Content.of(items, config.data.items),
        seed=config.seed,
    )


def headline_facts(periods: Mapping[str, Results]) -> Facts:
    """The numbers a run is judged by, flat; every key is a valid MLflow metric name.

    `<period>_lift_…` is PinSage minus the best baseline of that period, with the bounds of the
    paired bootstrap. `<period>_best_baseline` is the one text: that baseline's name.
    """
    facts: Facts = {}
    for period, results in periods.items():
        facts |= {f"{period}_{name}": value for name, value in _period_facts(results).items()}
        facts |= {"num_items": results.num_items, "mrr_block": results.mrr_block}
    return facts


def read_pairs(parts: Path, period: str, num_items: int) -> tuple[Pairs, int]:
    """Pairs of known items, and the number of those with another.

    The order within one timestamp is noise (bursts of ratings), so pairs across equal times are
    no evidence of what came next; any gap counts, whatever a model was trained on. Without a
    catalog, an item first seen in the test period is in nobody's lists: such pairs are counted.
    """
    pairs = consecutive_pairs(parts / f"{period}.parquet", equal_times="drop")
    known = np.maximum(pairs.query_row, pairs.positive_row) < num_items
    num_unknown = int((~known).sum())
    if num_unknown:
        _log.warning("%s: %d of %d pairs have an item that was not known when the test began: "
                     "left out, for all methods", period, num_unknown, len(pairs))  # fmt: skip
    return pairs.take(np.flatnonzero(known)), num_unknown


def trained_scorer(config: Config, trained: Path, embeddings: Vectors) -> EmbeddingScorer:
    """PinSage as retrieval ranks, with the embeddings of a train artifact's model.

    Ranks are counted on `cuda` where training would use a GPU and there is one.
    """
    queries = read_query_map(trained / "model")(embeddings)
    return EmbeddingScorer(MODEL, embeddings, queries, device=_ranking_device(config))


def _ranking_device(config: Config) -> str:
    import torch

    return "cuda" if config.training.device != "cpu" and torch.cuda.is_available() else "cpu"


def _period_facts(results: Results) -> Facts:
    headline = headline_metric(results.ks)
    rivals = [method for method in results.methods if method != MODEL]
    rival = results.best(headline, rivals)
    facts: Facts = {"num_pairs": results.num_pairs, "best_baseline": rival}
    for metric in results.metrics:
        facts[metric] = results.get(MODEL, metric).value
    for metric in (headline, "mrr", "mrr_scaled"):
        strongest = results.best(metric, rivals)
        lift = results.difference(MODEL, strongest, metric)
        facts |= {
            f"best_baseline_{metric}": results.get(strongest, metric).value,
            f"lift_{metric}": lift.value,
            f"lift_{metric}_low": lift.low,
            f"lift_{metric}_high": lift.high,
        }
    for label in ("warm", "rare", "cold"):
        if results.parts[part := Part(SUPPORT, label)]:
            facts[f"{headline}_{label}"] = results.get(MODEL, headline, part).value
    beyond = results.beyond[MODEL]
    facts |= {f"{name}_10": number for name, number in asdict(beyond).items() if isfinite(number)}
    return facts


def _write(periods: Mapping[str, _Period], trials: list[Trial], out: Path) -> None:
    found = {name: period.results for name, period in periods.items()}
    report: dict[str, Any] = {
        name: {**to_json(period.results), "num_unknown_pairs": period.num_unknown}
        for name, period in periods.items()
    }
    report |= {
        "tuning": [_without_seconds(trial) for trial in trials],
        "facts": headline_facts(found),
    }
    (out / "metrics.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    # Wall times apart from what is the same each time.
    (out / "tuning.json").write_text(json.dumps([asdict(trial) for trial in trials], indent=2))
    for file, draw in (("table.md", to_markdown), ("slices.md", slices_to_markdown)):
        sections = [f"## {PERIODS[name]}\n\n{draw(found[name])}\n" for name in found]
        (out / file).write_text("\n".join(sections), encoding="utf-8")
    rows = [row for name, results in found.items() for row in to_rows(name, results)]
    pq.write_table(pa.Table.from_pylist(rows), out / "results.parquet")
    ranks = [_ranks_table(name, period) for name, period in periods.items()]
    pq.write_table(pa.concat_tables(ranks), out / "ranks.parquet")


def _without_seconds(trial: Trial) -> dict[str, Any]:
    return {name: value for name, value in asdict(trial).items() if name != "seconds"}


def _ranks_table(name: str, period: _Period) -> pa.Table:
    """Every pair with its rank by every method: what any other metric or slice is made of."""
    pairs = period.pairs
    columns: dict[str, npt.NDArray[np.generic]] = {
        "user_row": pairs.user_row,
        "query_row": pairs.query_row,
        "positive_row": pairs.positive_row,
        "timestamp": pairs.time,
        **{method: ranking.ranks for method, ranking in period.rankings.items()},
    }
    named = pa.array([name] * len(pairs), pa.string())
    return pa.table({"period": named, **{key: pa.array(v) for key, v in columns.items()}})
