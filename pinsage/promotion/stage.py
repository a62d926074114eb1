"""The two boxes after the champion's ranks: what they say, and what is decided."""

from __future__ import annotations

import json
from pathlib import Path

from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.evaluation.slices import categories_of, parts_of
from pinsage.evaluation.stage import all_interactions
from pinsage.graph.bipartite import BipartiteGraph
from pinsage.inference.local import read_items
from pinsage.promotion.champion import RANKS
from pinsage.promotion.comparison import compare, read_champion, read_judged
from pinsage.promotion.decide import decide
from pinsage.promotion.evidence import Check, Comparison, Evidence, Stability
from pinsage.promotion.record import write_decision
from pinsage.store import Artifact, Facts

COMPARISON = "comparison.json"


def write_comparison(
    config: Config,
    parts: Path,
    graph: Path,
    evaluated: Path,
    champion: Artifact,
    out: Path,
    *,
    is_same_model: bool,
) -> Facts:
    """Write comparison.json; all paths are artifact folders of tonight's training period.

    Returns champion, baseline, and where there is a comparison change, change_low, change_high and
    change_error of the deciding metric. Raises ArtifactError where other pairs were ranked.
    """
    judged = read_judged(evaluated / "ranks.parquet")
    built, items = BipartiteGraph.open(graph), read_items(parts)
    degree = all_interactions(config, parts, built).item_degree
    categories = categories_of(items, degree, config.data, config.evaluation.slice_column)
    comparable = bool(champion.facts["comparable"])
    found = compare(
        config,
        judged,
        read_champion(champion.file(RANKS), judged) if comparable else None,
        parts_of(judged.pairs, degree, categories),
        num_items=built.num_items,
        version=str(champion.facts["version"]),
        no_champion=str(champion.facts["reason"]),
        is_same_model=is_same_model and comparable,
    )
    document = json.dumps(found.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    (out / COMPARISON).write_text(document + "\n", encoding="utf-8")
    facts: Facts = {"champion": found.champion, "baseline": found.baseline}
    if (change := found.primary) is not None:
        facts |= {
            "metric": change.metric,
            "change": change.value,
            "change_low": change.low,
            "change_high": change.high,
            "change_error": change.error,
        }
    return facts


def read_comparison(file: Path) -> Comparison:
    """Raises ArtifactError where it cannot be read."""
    try:
        return Comparison.from_json(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); compare again") from None


def write_verdict(
    config: Config,
    compared: Path,
    *,
    contract: Check,
    infra: Check,
    stability: Stability,
    out: Path,
) -> Facts:
    """Decide, and write decision.json and decision.md; `compared` is comparison.json."""
    evidence = Evidence(read_comparison(compared), contract, infra, stability)
    return write_decision(decide(evidence, config.gate), out)
