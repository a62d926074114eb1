"""The drift stages: drift.json and drift.md of inputs, and of embeddings; and what stops a night.

drift.json    measures, tonight's counts, and how many nights they were compared with
drift.md      the same as a table
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pinsage.config import Config, DriftConfig
from pinsage.drift.counting import embedding_numbers, feature_counts, interaction_numbers
from pinsage.drift.measures import Measure, of_embeddings, of_inputs
from pinsage.drift.night import Night
from pinsage.errors import ArtifactError, ContractError
from pinsage.store import Artifact, Facts

JSON, MARKDOWN = "drift.json", "drift.md"
_REMEDY = (
    "Look at the source first: is a part of it missing, or there twice? If tonight is right as it "
    "is, run again with gate.drift.override=true. Nothing published was touched."
)
_log = logging.getLogger(__name__)


def write_input_drift(
    config: Config, ingested: Artifact, before: Sequence[Night], out: Path
) -> Facts:
    """Count tonight's data and hold it against the nights before.

    Returns num_nights, and the names of the measures that warn and that block.
    """
    items = pq.read_table(ingested.file("items.parquet")).to_pandas()
    policy, declared = config.gate.drift, config.data.items
    edges, counts, missing = feature_counts(items, declared, None)
    tonight = Night(
        name=ingested.digest(),
        until=str(ingested.facts["last_time"]),
        numbers=interaction_numbers(
            ingested.file("interactions.parquet"), len(items), policy.window_hours
        ),
        edges=edges,
        counts=counts,
        missing=missing,
    )
    known = {*before[0].missing} if before else set()
    as_before = feature_counts(items, declared, before[0])[1] if known else {}
    return _write(tonight, of_inputs(tonight, as_before, before, policy), len(before), out)


def write_embedding_drift(
    config: Config, ingested: Artifact, embedded: Artifact, before: Sequence[Night], out: Path
) -> Facts:
    """Hold the moments of tonight's embeddings against those of the nights before."""
    tonight = Night(
        name=ingested.digest(),
        until=str(ingested.facts["last_time"]),
        numbers=embedding_numbers(embedded.file("embeddings.npy"), config.seed),
        edges={},
        counts={},
        missing={},
    )
    measures = of_embeddings(tonight, before, config.gate.drift)
    return _write(tonight, measures, len(before), out)


def night_of(inputs: Artifact, embeddings: Artifact | None = None) -> Night:
    """What to remember of a night, out of its one or two drift artifacts."""
    night = _read_night(inputs.file(JSON))
    if embeddings is None:
        return night
    return replace(night, numbers={**night.numbers, **_read_night(embeddings.file(JSON)).numbers})


def enforce(artifact: Artifact, policy: DriftConfig) -> None:
    """Raise ContractError where a measure stops the night; with an override it is logged."""
    measures = [Measure(**each) for each in _read(artifact.file(JSON))["measures"]]
    for each in measures:
        if each.verdict == "warn":
            _log.warning("drift: %s", _line(each))
    stopping = [_line(each) for each in measures if each.verdict == "block"]
    if not stopping:
        return
    if policy.override:
        _log.warning("drift, gone on in spite of by gate.drift.override: %s", "; ".join(stopping))
        return
    raise ContractError(
        "\n".join(
            [
                f"{artifact.manifest.stage}: tonight is too far from the nights before",
                *(f"  {line}" for line in stopping),
                f"All measures: {artifact.file(MARKDOWN)}",
                _REMEDY,
            ]
        )
    )


def _line(each: Measure) -> str:
    return (
        f"{each.name}: found {_number(each.value)}, expected about {_number(each.reference)} "
        f"(drift {each.drift:+.3g}, at most {each.bound:g})"
    )


def _write(tonight: Night, measures: Sequence[Measure], num_nights: int, out: Path) -> Facts:
    document = {
        "num_nights": num_nights,
        "measures": [asdict(each) for each in measures],
        "night": tonight.to_json(),
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (out / JSON).write_text(text + "\n", encoding="utf-8")
    (out / MARKDOWN).write_text(to_markdown(measures, num_nights), encoding="utf-8")
    return {
        "num_nights": num_nights,
        "num_measures": len(measures),
        **{
            verdict: [each.name for each in measures if each.verdict == verdict]
            for verdict in ("warn", "block")
        },
    }


def to_markdown(measures: Sequence[Measure], num_nights: int) -> str:
    """A row a measure; names of features are a user's text, and stand escaped."""
    if not measures:
        return f"Nothing to compare with: earlier nights that are remembered: {num_nights}.\n"
    head = ["| measure | before | tonight | drift | bound | |", "|---|--:|--:|--:|--:|---|"]
    rows = [
        f"| {_escaped(each.name)} | {_number(each.reference)} | {_number(each.value)} "
        f"| {each.drift:+.4f} | {each.bound:g} | {each.verdict} |"
        for each in measures
    ]
    nights = "the night before" if num_nights == 1 else f"the median of {num_nights} earlier nights"
    return f"Against {nights}.\n\n" + "\n".join([*head, *rows]) + "\n"


def _number(value: float) -> str:
    """A count in full, a share with four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _escaped(text: str) -> str:
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")


def _read_night(file: Path) -> Night:
    return Night(**_read(file)["night"])


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{file}: cannot be read ({error}); run again") from None
    return document
