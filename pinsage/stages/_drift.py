"""Tonight's data and embeddings beside those of the nights before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pinsage.config import Config
from pinsage.store import Artifact, Facts, Store, Workspace, digest_of

if TYPE_CHECKING:
    from pinsage.drift.night import Night

_CODE = ("pinsage.drift", "pinsage.evaluation.metrics")


def input_drift(config: Config, store: Store, ingested: Artifact) -> Artifact:
    """Volumes, newcomers, popularity and features beside the nights before.

    Whether the night may go on is for `pinsage.drift.stage.enforce` to say.
    """
    before = _nights_before(config, ingested)

    def build(work: Workspace) -> Facts:
        from pinsage.drift.stage import write_input_drift

        return write_input_drift(config, ingested, before, work.path)

    declared = config.data.items
    return store.stage(
        "input-drift",
        build,
        settings={
            **_policy(config),
            "features": dict(declared.features) if declared else {},
            "separator": declared.separator if declared else "",
        },
        inputs={"ingested": ingested.digest(), "before": _digest(before)},
        code=_CODE,
    )


def embedding_drift(
    config: Config, store: Store, ingested: Artifact, embedded: Artifact
) -> Artifact:
    """Mean length and mean cosine of the embeddings beside the nights before."""
    before = _nights_before(config, ingested)

    def build(work: Workspace) -> Facts:
        from pinsage.drift.stage import write_embedding_drift

        return write_embedding_drift(config, ingested, embedded, before, work.path)

    return store.stage(
        "embedding-drift",
        build,
        settings={**_policy(config), "seed": config.seed},
        inputs={
            "ingested": ingested.digest(),
            "embeddings": embedded.digest("embeddings.npy"),
            "before": _digest(before),
        },
        code=_CODE,
    )


def _nights_before(config: Config, ingested: Artifact) -> list[Night]:
    """The trailing nights that read other data than tonight's, the oldest first."""
    from pinsage.drift.night import read_nights
    from pinsage.retrieval.shelf import shelf

    nights = read_nights(shelf(config.root, config.name))
    others = [night for night in nights if night.name != ingested.digest()]
    return others[-config.gate.drift.nights :]


def _policy(config: Config) -> dict[str, Any]:
    return config.gate.drift.model_dump(mode="json", exclude={"override"})


def _digest(before: list[Night]) -> str:
    return digest_of([night.to_json() for night in before])
