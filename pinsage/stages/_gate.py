"""From an evaluated model to the decision whether readers follow it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pinsage.config import CHANGES_NO_VERDICT, Config
from pinsage.store import Artifact, Facts, Store, Workspace

if TYPE_CHECKING:
    from pinsage.promotion.evidence import Check, Stability

_RANKING = (
    "pinsage.content",
    "pinsage.data",
    "pinsage.evaluation",
    "pinsage.graph",
    "pinsage.inference",
    "pinsage.model",
    "pinsage.retrieval.shelf",
)


def champion(
    config: Config,
    store: Store,
    parts: Artifact,
    built: Artifact,
    table: Artifact,
    embedded: Artifact,
) -> Artifact:
    """Rank the test period's pairs by the weights that readers follow, over tonight's graph.

    Where readers follow these very embeddings already, by those of the version before. `parts`,
    `built` and `table` are what the challenger was evaluated with.
    """
    version, rival = _readers_version(config, embedded)

    def build(work: Workspace) -> Facts:
        from pinsage.promotion.champion import write_champion_ranks

        facts = write_champion_ranks(config, parts, built.path, table.path, version, work.path)
        return {**facts, "model": rival["model"]}

    return store.stage(
        "champion",
        build,
        settings={
            "ks": config.evaluation.ks,
            "threads": config.training.threads,
            "test_from": parts.facts["test_from"],
        },
        inputs={
            **rival,
            "split": parts.digest(),
            "graph": built.digest(),
            "neighbourhoods": table.digest(),
        },
        code=(*_RANKING, "pinsage.promotion.champion"),
    )


def _readers_version(config: Config, embedded: Artifact) -> tuple[Path | None, dict[str, str]]:
    """The version to be compared with, and what it is made of; how it is found changes no rank."""
    from pinsage.retrieval.shelf import EMBEDDINGS
    from pinsage.retrieval.versions import champion as find
    from pinsage.store import read_manifest

    version = find(config.root, config.name, embedded.digest())
    if version is None:
        return None, {"version": "", "model": "", "items": ""}
    found = Artifact(version, read_manifest(version))
    # Of the model as it was trained: a version that was aligned holds a turned one.
    model, items = found.manifest.inputs["model"], found.digest(f"{EMBEDDINGS}/")
    return version, {"version": version.name, "model": model, "items": items}


def compare(
    config: Config,
    store: Store,
    parts: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    ranked: Artifact,
) -> Artifact:
    """Champion against challenger on the same pairs, by paired bootstrap over users.

    `ranked` is what `champion` made.
    """

    def build(work: Workspace) -> Facts:
        from pinsage.promotion.stage import write_comparison

        return write_comparison(
            config, parts.path, built.path, evaluated.path, ranked, work.path,
            is_same_model=ranked.facts["model"] == trained.digest("model/"),
        )  # fmt: skip

    gate = config.gate
    return store.stage(
        "compare",
        build,
        settings={
            "metric": gate.metric,
            "confidence": gate.confidence,
            "resamples": gate.resamples,
            "baseline": gate.baseline,
            "ks": config.evaluation.ks,
            "slice_column": config.evaluation.slice_column,
            "seed": config.seed,
        },
        inputs={
            "split": parts.digest(),
            "graph": built.digest(),
            "model": trained.digest("model/"),
            "ranks": evaluated.digest("ranks.parquet"),
            "champion": ranked.digest(),
            "version": str(ranked.facts["version"]),
            "reason": str(ranked.facts["reason"]),
        },
        code=(*_RANKING, "pinsage.promotion"),
    )


def decide(
    config: Config,
    store: Store,
    compared: Artifact,
    *,
    contract: Check,
    infra: Check,
    stability: Stability | None = None,
) -> Artifact:
    """Promote, refuse or ask: decision.json and decision.md; `facts["verdict"]` is the verdict.

    `contract` is that of the embeddings, `infra` says whether the packaged model loads and answers
    in a fresh process, `stability` is None where there is no version before.
    """
    from pinsage.promotion.evidence import Stability as Nothing

    known = stability or Nothing()

    def build(work: Workspace) -> Facts:
        from pinsage.promotion.stage import COMPARISON, write_verdict

        return write_verdict(
            config, compared.file(COMPARISON), contract=contract, infra=infra, stability=known,
            out=work.path,
        )  # fmt: skip

    checks: dict[str, Any] = {"contract": contract, "infra": infra, "stability": known}
    return store.stage(
        "decide",
        build,
        settings={
            "policy": config.gate.model_dump(mode="json", exclude={"drift", *CHANGES_NO_VERDICT}),
            **{name: asdict(each) for name, each in checks.items()},
        },
        inputs={"comparison": compared.digest()},
        code=(*_RANKING, "pinsage.promotion"),
    )
