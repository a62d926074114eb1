"""The boxes of an ablation: the ranks of one training, and the table of all of them.

Each is an artifact of the store, so a killed ablation goes on where it was, and whatever a nightly
run or another ablation has made is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pinsage.ablation.comparison import Comparison, common_users
from pinsage.ablation.ranks import read_ranks, write_ranks
from pinsage.ablation.table import Cost, to_markdown, to_rows
from pinsage.ablation.variants import REFERENCE, Plan, Trial
from pinsage.config import Config
from pinsage.evaluation.stage import PERIODS
from pinsage.store import Artifact, Facts, Store, Workspace

TABLE, FIGURE, RESULTS = "table.md", "ablation.png", "results.parquet"


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: its `train` and `ranks` artifacts."""

    trial: Trial
    trained: Artifact
    ranked: Artifact


def rank(
    config: Config,
    store: Store,
    parts: Artifact,
    built: Artifact,
    table: Artifact,
    trained: Artifact,
) -> Artifact:
    """Rank the pairs of validation and test by a trained model, without baselines."""

    def build(work: Workspace) -> Facts:
        return write_ranks(config, parts.path, built.path, table.path, trained.path, work.path)

    evaluation = config.evaluation
    return store.stage(
        "ranks",
        build,
        settings={"ks": evaluation.ks, "mrr_block": evaluation.mrr_block},
        inputs={
            "split": parts.digest(),
            "graph": built.digest(),
            "neighbourhoods": table.digest(),
            "model": trained.digest("model/"),
        },
        code=(
            "pinsage.ablation.ranks",
            "pinsage.data.pairs",
            "pinsage.evaluation",
            "pinsage.graph",
            "pinsage.inference",
            "pinsage.model",
        ),
    )


def compare(plan: Plan, store: Store, outcomes: Sequence[Outcome]) -> Artifact:
    """The table of all trials: table.md, results.parquet and ablation.png.

    Raises ArtifactError where the trials ranked other pairs, MissingExtraError without matplotlib.
    """
    evaluation = plan.base.evaluation

    def build(work: Workspace) -> Facts:
        return write_comparison(plan, outcomes, work.path)

    return store.stage(
        "ablation",
        build,
        settings={
            "variants": [asdict(variant) for variant in plan.variants],
            "seeds": plan.seeds,
            "seed": plan.base.seed,
            "ks": evaluation.ks,
            "mrr_block": evaluation.mrr_block,
            "bootstrap": evaluation.bootstrap,
            "confidence": evaluation.confidence,
        },
        inputs={
            f"{kind} of {each.trial.name}": digest
            for each in outcomes
            # The history holds wall times, which the table shows.
            for kind, digest in (
                ("ranks", each.ranked.digest()),
                ("history", each.trained.digest("history.json")),
            )
        },
        code=("pinsage.ablation", "pinsage.evaluation", "pinsage.report"),
    )


def write_comparison(plan: Plan, outcomes: Sequence[Outcome], out: Path) -> Facts:
    """Write the tables and the figure; returns each period's headline numbers by variant."""
    from pinsage.ablation.figure import ablation_figure
    from pinsage.report.figures.style import png

    periods = {period: _compare(plan, outcomes, period) for period in PERIODS}
    chosen_by = plan.base.training.choosing_metric(periods["valid"].headline)
    costs = {
        name: Cost.of([_history(each) for each in mine], chosen_by)
        for name, mine in _by_variant(plan, outcomes).items()
    }
    titled = {period: (PERIODS[period], found) for period, found in periods.items()}
    (out / TABLE).write_text(to_markdown(plan, titled, costs), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(list(to_rows(plan, periods, costs))), out / RESULTS)
    png(ablation_figure(plan, periods["test"], PERIODS["test"]), out / FIGURE)
    return {"num_trials": len(outcomes), "num_seeds": len(plan.seeds), **_facts(periods)}


def _compare(plan: Plan, outcomes: Sequence[Outcome], period: str) -> Comparison:
    read = {each.trial.name: read_ranks(each.ranked.file(f"{period}.parquet")) for each in outcomes}
    users = {name: user_row for name, (user_row, _) in read.items()}
    return Comparison.of(
        {
            name: [read[each.trial.name][1] for each in mine]
            for name, mine in _by_variant(plan, outcomes).items()
        },
        common_users(users, period),
        reference=REFERENCE.name,
        config=plan.base,
        num_items=int(outcomes[0].ranked.facts["num_items"]),
    )


def _by_variant(plan: Plan, outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    return {
        variant.name: [each for each in outcomes if each.trial.variant == variant]
        for variant in plan.variants
    }


def _history(outcome: Outcome) -> list[Mapping[str, Any]]:
    reports: list[Mapping[str, Any]] = json.loads(outcome.trained.file("history.json").read_text())
    return reports


def _facts(periods: Mapping[str, Comparison]) -> Facts:
    """Flat, so that every number becomes a metric: `test_hit_rate_100.mean pooling`."""
    return {
        f"{period}_{found.headline}.{variant}": found.get(variant, found.headline).value
        for period, found in periods.items()
        for variant in found.variants
    }
