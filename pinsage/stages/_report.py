"""The page that a run is judged by."""

from __future__ import annotations

from collections.abc import Mapping

from pinsage.config import CHANGES_NO_VERDICT, Config
from pinsage.store import Artifact, Facts, Store, Workspace


def report(
    config: Config,
    store: Store,
    *,
    ingested: Artifact,
    parts: Artifact,
    catalog: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    vectors: Artifact,
    made: Mapping[str, Artifact],
) -> Artifact:
    """Draw the page that the run is judged by, beside what readers follow now.

    `vectors` holds embeddings.npy, of the items of `catalog` over the graph `built`: those to be
    published, or those that were evaluated. `made` are the run's artifacts by stage, in order.
    """
    from pinsage.retrieval.versions import champion

    rival = champion(config.root, config.name, vectors.digest())
    sources = {
        "catalog": catalog, "built": built, "trained": trained, "evaluated": evaluated,
        "ingested": ingested, "parts": parts, "vectors": vectors,
    }  # fmt: skip

    def build(work: Workspace) -> Facts:
        from pinsage.report.gather import gather
        from pinsage.report.stage import write_report

        return write_report(gather(config, **sources, champion=rival, made=made), work.path)

    checked = {name: a.digest("report.json") for name, a in made.items() if "validate" in name}
    return store.stage(
        "report",
        build,
        # The page shows every setting, so that all but where it lies are in its key.
        settings=config.model_dump(
            mode="json",
            exclude={"root": True, "tracking": True, "gate": set(CHANGES_NO_VERDICT)},
        ),
        inputs={
            **{name: source.digest() for name, source in sources.items()},
            "trained": trained.digest("model/"),  # not history.json, which holds wall times
            **checked,
            "champion": rival.name if rival else "",
        },
        code=(
            "pinsage.content",
            "pinsage.data",
            "pinsage.evaluation",
            "pinsage.graph",
            "pinsage.model",
            "pinsage.report",
            "pinsage.retrieval",
        ),
    )
