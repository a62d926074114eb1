"""From the artifacts of a run to what its report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pinsage import __version__
from pinsage.config import Config
from pinsage.report.inputs import Contract, Provenance, ReportInputs, StageCost
from pinsage.store import Artifact

VECTORS = "embeddings.npy"

# Those whose version can change a number.
_PACKAGES = (
    "faiss-cpu", "gensim", "implicit", "numba", "numpy", "pandas", "pyarrow", "pytorch-frame",
    "scipy", "torch", "torch-geometric",
)  # fmt: skip
_CONTRACTS = {"validate": "Interactions and items", "validate-embeddings": "Embeddings"}


def gather(
    config: Config,
    *,
    ingested: Artifact,
    parts: Artifact,
    catalog: Artifact,
    built: Artifact,
    trained: Artifact,
    evaluated: Artifact,
    vectors: Artifact,
    champion: Path | None,
    made: Mapping[str, Artifact],
) -> ReportInputs:
    """Name the files and facts that a report shows.

    `vectors` holds embeddings.npy: those to be published, or those that were evaluated; `catalog`
    (what was ingested, or the split) and `built` are theirs. `made` are all artifacts of the run by
    stage, in order: their costs, and the contracts among them.
    """
    contracts = tuple(
        Contract.read(title, made[stage].file("report.json"), passed=made[stage].facts["passed"])
        for stage, title in _CONTRACTS.items()
        if stage in made
    )
    costs = tuple(
        StageCost(name, artifact.manifest.seconds, artifact.manifest.peak_mib, artifact.reused)
        for name, artifact in made.items()
    )
    newest = max(a.manifest.created for a in (evaluated, vectors, *made.values()))
    return ReportInputs(
        config=config,
        evaluated=evaluated.path,
        trained=trained.path,
        ingested=catalog.path,
        ingest_facts=ingested.facts,
        split_facts=parts.facts,
        graph=built.path,
        vectors=vectors.file(VECTORS),
        contracts=contracts,
        champion=champion,
        provenance=Provenance(
            created=newest,
            code=f"pinsage {__version__}",
            data=ingested.digest("interactions.parquet", "items.parquet"),
            stages=costs,
            packages=_versions(),
        ),
    )


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an optional one
    return found
