"""The two gates of a run: over the landed data, and over the embeddings before they are used.

A gate is a stage: it always builds its artifact, so that the Data Docs of a failed run are kept.
`enforce` stops the run afterwards. Great Expectations is imported only where a gate is built.

    data_docs/index.html    pages that open from disk
    report.json             every expectation with its outcome
    facts                   passed, num_expectations, breaches, tolerated
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_contracts.tables import latest_allowed, newest_timestamp
from pinsage.config import Config
from pinsage.errors import ContractError
from pinsage.store import Artifact, Facts, Store, Workspace

if TYPE_CHECKING:
    from data_contracts.runner import Checked

DOCS = "data_docs/index.html"


def validate(config: Config, store: Store, landed: Artifact) -> Artifact:
    """Check a snapshot against its contract. Whether it may go on is for `enforce` to say.

    Time passes, and the key must not: it holds only whether the newest interaction lies within the
    bound on the future, which turns from no to yes once and never back.
    """
    now = datetime.now(UTC)

    def build(work: Workspace) -> Facts:
        from data_contracts.checks import check_snapshot

        checks = check_snapshot(config, landed, now)
        return _write(f"Contract of {config.name}", checks, work.path)

    return store.stage(
        "validate",
        build,
        settings={
            "contract": config.contract.model_dump(mode="json"),
            "features": dict(config.data.items.features) if config.data.items else None,
            "from_the_future": _from_the_future(config, landed, now),
        },
        inputs={"snapshot": landed.digest()},
        code=("data_contracts",),
    )


def validate_embeddings(
    config: Config, store: Store, embedded: Artifact, ingested: Artifact
) -> Artifact:
    """Check the embeddings of the items of `ingested`: shape, finite, unit length, no collapse."""

    def build(work: Workspace) -> Facts:
        from data_contracts.checks import check_embeddings

        checks = check_embeddings(config, embedded, ingested)
        return _write(f"Contract of the embeddings of {config.name}", checks, work.path)

    return store.stage(
        "validate-embeddings",
        build,
        settings={
            "dimension": config.model.output,
            "normalize": config.model.normalize,
            "seed": config.seed,
        },
        inputs={
            "embeddings": embedded.digest("embeddings.npy"),
            "items": ingested.digest("items.parquet"),
        },
        code=("data_contracts",),
    )


def enforce(artifact: Artifact) -> None:
    """Raise ContractError where the contract was broken, with all that is needed to mend it."""
    if artifact.facts["passed"]:
        return
    breaches = artifact.facts["breaches"]
    number = "1 expectation does" if len(breaches) == 1 else f"{len(breaches)} expectations do"
    raise ContractError(
        "\n".join(
            [
                f"{artifact.manifest.stage}: the data breaks its contract ({number} not hold)",
                *(line for breach in breaches for line in _describe(breach)),
                "",
                f"Data Docs: {artifact.file(DOCS)}",
                "Nothing was built from this data, and nothing published was touched.",
            ]
        )
    )


def _from_the_future(config: Config, landed: Artifact, now: datetime) -> bool:
    newest = newest_timestamp(landed.file("interactions.parquet"))
    return newest is not None and newest > latest_allowed(config.contract, now)


def _write(title: str, checks: list[Checked], folder: Path) -> Facts:
    from data_contracts.docs import write_docs
    from data_contracts.findings import findings, report

    breaches, tolerated = findings(checks)
    outcome = report(checks)
    write_docs(title, checks, folder / "data_docs")
    (folder / "report.json").write_text(json.dumps(outcome, indent=1, ensure_ascii=True) + "\n")
    return {
        "passed": not breaches,
        "num_expectations": len(outcome),
        "breaches": breaches,
        "tolerated": tolerated,
    }


def _describe(breach: dict[str, Any]) -> list[str]:
    where = ".".join(part for part in (breach["table"], breach["column"]) if part)
    lines = [
        "",
        f"{where}: {breach['expectation']}",
        f"  expected  {breach['expected']}",
        f"  found     {breach['found']}",
        f"  to do     {breach['hint']}",
    ]
    rows = [", ".join(f"{name}={value}" for name, value in row.items()) for row in breach["rows"]]
    more = (breach["count"] or 0) - len(rows)
    rows += [f"… and {more:,} more"] if rows and more > 0 else []
    return lines + [f"  {'rows' if not n else '    '}      {row}" for n, row in enumerate(rows)]
