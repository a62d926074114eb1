"""The boxes of tuning: the study's name, the baselines' trials, and what all of it comes to.

Invariant: no input of any of them holds a row of the test period.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

from pinsage.config import CHANGES_NO_NEIGHBOUR, CHANGES_NO_ROW, CHANGES_NO_WEIGHT, Config
from pinsage.evaluation.tuning import Trial
from pinsage.files import write_atomic
from pinsage.store import Artifact, Facts, Store, Workspace, digest_of
from pinsage.tuning.outcome import PROFILE, TRIALS, write_outcome
from pinsage.tuning.space import Space
from pinsage.tuning.study import Study, Tried, open_study

_SEEN = ("train.parquet", "valid.parquet", "items.parquet")
_LEARNING = {
    "neighbourhoods", "model", "pairs", "negatives", "training", "evaluation", "seed", "data",
}  # fmt: skip
_CHANGES_NOTHING = {
    "data": set(CHANGES_NO_ROW),
    "neighbourhoods": set(CHANGES_NO_NEIGHBOUR),
    "training": set(CHANGES_NO_WEIGHT),
}


def study_of(space: Space, store: Store, parts: Artifact) -> AbstractContextManager[Study]:
    """The study of these data, this base and this space, in `<root>/tuning/<name>.db`.

    Another base, split or space is another study in the same file.
    """
    config = space.base
    file = store.root / "tuning" / f"{config.name}.db"
    settings = config.model_dump(mode="json", include=_LEARNING, exclude=_CHANGES_NOTHING)
    settings["graph"] = config.graph.deciding(config.seed)
    asked = [asdict(setting) for setting in space.settings]
    name = digest_of({"base": settings, "space": asked, "split": parts.digest(*_SEEN)})[:16]
    return open_study(file, name, space)


def tune_baselines(
    config: Config, store: Store, parts: Artifact, built: Artifact, trials: int
) -> Artifact:
    """Try at most `trials` settings of each baseline on validation pairs; into tuning.json.

    A baseline whose grid is smaller is tried with all of it. Raises MissingExtraError where a
    baseline's package is missing.
    """
    budget = config.evaluation.model_copy(update={"trials": trials})

    def build(work: Workspace) -> Facts:
        return _write_baselines(
            config.model_copy(update={"evaluation": budget}), parts.path, built.path, work.path
        )

    return store.stage(
        "tune-baselines",
        build,
        settings={
            **budget.model_dump(mode="json"),
            "choose_by": config.training.choose_by,
            "seed": config.seed,
        },
        inputs={"split": parts.digest(*_SEEN), "graph": built.digest()},
        code=("pinsage.content", "pinsage.data.pairs", "pinsage.evaluation", "pinsage.graph"),
    )


def read_baselines(tuned: Artifact) -> list[Trial]:
    """Every baseline setting that was tried."""
    return [Trial(**each) for each in json.loads(tuned.file(TRIALS).read_text())]


def conclude(
    space: Space, store: Store, tried: Sequence[Tried], best: Tried, baselines: Artifact
) -> Artifact:
    """The best settings as a profile, the table and the history, as one artifact.

    The profile is copied to `<root>/tuning/<name>.toml`, where it is found without a key.
    """

    def build(work: Workspace) -> Facts:
        return write_outcome(space, tried, best, read_baselines(baselines), work.path)

    concluded = store.stage(
        "tuning",
        build,
        settings={
            "trials": [asdict(each) for each in tried],
            "choose_by": space.base.training.choose_by,
            "ks": space.base.evaluation.ks,
        },
        inputs={"baselines": baselines.digest()},
        code=("pinsage.tuning", "pinsage.report", "pinsage.config_text"),
    )
    profile = store.root / "tuning" / f"{space.base.name}.toml"
    write_atomic(profile, concluded.file(PROFILE).read_bytes())
    return concluded


def _write_baselines(config: Config, parts: Path, graph: Path, out: Path) -> Facts:
    from pinsage.evaluation.stage import all_interactions, read_pairs, training_evidence
    from pinsage.evaluation.tuning import build_baselines
    from pinsage.graph.bipartite import BipartiteGraph
    from pinsage.inference.local import read_items

    built = all_interactions(config, parts, BipartiteGraph.open(graph))
    evidence = training_evidence(config, parts, built, read_items(parts))
    valid, _ = read_pairs(parts, "valid", built.num_items)
    _, trials = build_baselines(evidence, valid, config.evaluation, config.training.choose_by)
    (out / TRIALS).write_text(json.dumps([asdict(trial) for trial in trials], indent=2))
    return {trial.baseline: trial.score for trial in trials if trial.chosen}
