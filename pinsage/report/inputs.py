"""What a report is made from: folders of artifacts, and what is known about the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pinsage.config import Config
from pinsage.errors import ArtifactError
from pinsage.store import Facts


@dataclass(frozen=True)
class Contract:
    """One data contract's outcome.

    Attributes:
        name: what was checked, e.g. `Interactions and items`
        passed: whether the run was allowed to go on
        expectations: each with `table`, `column`, `expected`, `found`, `success` and `critical`
    """

    name: str
    passed: bool
    expectations: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, name: str, report: Path, *, passed: bool) -> Contract:
        """From the `report.json` that a gate wrote. Raises ArtifactError where it is broken."""
        return cls(name, passed, tuple(read_json(report)))


@dataclass(frozen=True)
class StageCost:
    """What a stage took. `reused` says that an earlier run's result was found."""

    name: str
    seconds: float
    peak_mib: float
    reused: bool = False


@dataclass(frozen=True)
class Provenance:
    """Where the run comes from.

    Attributes:
        created: when the run's newest artifact was made, ISO 8601; the page's only date
        code: version of this software, e.g. `0.3.0` or a commit
        data: digest of what was ingested
        stages: in the order in which they ran
        packages: version of each package that the numbers depend on
        machine: free text, e.g. the processor; empty to leave it out
    """

    created: str
    code: str
    data: str
    stages: tuple[StageCost, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Everything that the page shows.

    Attributes:
        evaluated: folder with metrics.json and results.parquet
        trained: folder with history.json
        ingested: folder with items.parquet, N rows
        ingest_facts: counts and times that the ingest stage found
        split_facts: the cuts, and counts of each part
        graph: folder of the graph that the vectors were computed over, N items
        vectors: `.npy` of float32 [N, d], the challenger
        contracts: outcome of each gate
        champion: folder of the published version that readers follow now; None the first time
    """

    config: Config
    evaluated: Path
    trained: Path
    ingested: Path
    ingest_facts: Facts
    split_facts: Facts
    graph: Path
    vectors: Path
    contracts: tuple[Contract, ...]
    champion: Path | None
    provenance: Provenance


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises ArtifactError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{path}: no such file, which the report needs; run the stage that writes it again"
        ) from None
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error}); delete its folder and run again"
        ) from None
