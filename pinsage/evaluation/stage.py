"""The evaluate stage: a trained model beside the baselines, on the validation and test periods.

Baselines are built on the training period only and tuned on validation; the test period is only
ever measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.config import Config
from pinsage.data.pairs import Pairs, consecutive_pairs
from pinsage.evaluation.embeddings import EmbeddingScorer
from pinsage.evaluation.metrics import headline_k
from pinsage.evaluation.plots import MODEL, hit_rate_figure, mrr_figure, save_figure
from pinsage.evaluation.protocol import evaluate
from pinsage.evaluation.results import Results
from pinsage.evaluation.table import to_json, to_markdown, to_rows
from pinsage.evaluation.tuning import Trial, build_baselines
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.store import Facts

_TITLES = {"valid": "Validation", "test": "Test"}


def write_evaluation(
    config: Config,
    ingested: Path,
    parts: Path,
    graph: Path,
    table: Path,
    trained: Path,
    out: Path,
) -> Facts:
    """Write metrics.json, table.md, results.parquet, hit_rate.png and mrr.png into `out`.

    All paths are artifact folders; `graph` and `table` are those of the training period. Returns
    flat headline numbers. Raises ContractError where a period has no pair.
    """
    from pinsage.inference.local import embed_trained  # imports torch

    embeddings = embed_trained(config, ingested, graph, table, trained)
    built = BipartiteGraph.open(graph)
    pairs = {period: _read_pairs(parts, period) for period in _TITLES}
    train = consecutive_pairs(parts / "train.parquet", equal_times="both")
    baselines, trials = build_baselines(
        built, train, pairs["valid"], config.evaluation, config.seed
    )
    scorers = [*baselines, EmbeddingScorer(MODEL, embeddings)]
    periods = {
        period: evaluate(
            scorers,
            pairs[period],
            degree=built.item_degree,
            config=config.evaluation,
            seed=config.seed,
        )
        for period in _TITLES
    }
    _write(periods, trials, out)
    return headline_facts(periods)


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


def _read_pairs(parts: Path, period: str) -> Pairs:
    # The order within one timestamp is noise (bursts of ratings), so pairs across equal times
    # are no evidence of what came next; any gap counts, whatever a model was trained on.
    return consecutive_pairs(parts / f"{period}.parquet", equal_times="drop")


def _period_facts(results: Results) -> Facts:
    headline = f"hit_rate_{headline_k(results.ks)}"
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
    for part in ("warm", "rare", "cold"):
        if results.slices[part]:
            facts[f"{headline}_{part}"] = results.get(MODEL, headline, part).value
    facts["coverage_10"] = results.beyond[MODEL].coverage
    return facts


def _write(periods: Mapping[str, Results], trials: list[Trial], out: Path) -> None:
    report = {
        **{period: to_json(results) for period, results in periods.items()},
        "tuning": [asdict(trial) for trial in trials],
        "facts": headline_facts(periods),
    }
    (out / "metrics.json").write_text(json.dumps(report, indent=2, allow_nan=False) + "\n")
    sections = [f"## {_TITLES[name]}\n\n{to_markdown(periods[name])}\n" for name in periods]
    (out / "table.md").write_text("\n".join(sections), encoding="utf-8")
    rows = [row for period, results in periods.items() for row in to_rows(period, results)]
    pq.write_table(pa.Table.from_pylist(rows), out / "results.parquet")
    titled = {_TITLES[period]: results for period, results in periods.items()}
    save_figure(hit_rate_figure(titled), out / "hit_rate.png")
    save_figure(mrr_figure(titled), out / "mrr.png")
