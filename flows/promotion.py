"""What becomes of a version that was published and that readers do not follow yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from prefect import tags

from flows import approval, artifacts, judging, records
from flows.registration import Registered
from flows.session import Run
from flows.settings import TAG
from flows.stages import Data
from pinsage.config import Config
from pinsage.drift.night import remember
from pinsage.drift.stage import night_of
from pinsage.errors import RefusedError
from pinsage.retrieval.publish import Version
from pinsage.retrieval.shelf import CURRENT
from pinsage.retrieval.unpromoted import Mark
from pinsage.retrieval.versions import current_version, judge, shelf
from pinsage.store import Artifact

Verdict = Literal["promote", "refuse", "ask"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Challenger:
    """A published version, what it was made of, and what it is to be judged by."""

    data: Data
    drift: Artifact
    embedding_drift: Artifact
    evaluated: Artifact
    compared: Artifact
    version: Version
    registered: Registered | None


@dataclass(frozen=True)
class Settled:
    """What came of it.

    Attributes:
        promoted: readers follow the version now
        told: what a person is told in a line: why, or the command that answers
    """

    verdict: Verdict
    promoted: bool
    reasons: list[str]
    told: str
    decided: Artifact
    version: Version


def settle(run: Run, made: Challenger) -> Settled:
    """Decide whether readers follow, ask where that is wanted, and switch them.

    Raises PublishError where readers should follow and cannot be switched: they stay, and the same
    run again goes on from there.
    """
    version = made.version
    checked = judging.infra_check(run, made.data, version, made.registered)
    decided = judging.decide(run, made.compared, version, checked)
    verdict: Verdict = decided.facts["verdict"]
    reasons, told = judging.reasons_of(decided), ""
    known = judge(run.config.root, run.config.name, version.name, Mark(verdict, tuple(reasons)))
    if follows(run, version):
        told = "readers follow it already"
    elif known.by and known.said != "ask":
        verdict, reasons = _said(known), list(known.reasons)
    elif verdict == "ask" and approval.can_wait():
        with tags(TAG):  # so that it is told of and tidied up as every run of ours
            answer = approval.ask(_question(decided, version), run.config.gate.approval_hours)
        verdict, reasons = "promote" if answer.promote else "refuse", [answer.told, *reasons]
        judge(
            run.config.root, run.config.name, version.name,
            Mark(verdict, (answer.told,), answer.by),
        )  # fmt: skip
    if verdict == "promote" and not follows(run, version):
        forced = bool(decided.facts["forced"])
        why = f"{run.book.flow} {run.book.run_id}: {'by force, ' if forced else ''}{reasons[0]}"
        version = judging.promote(run, version, made.registered, why=why, force=forced)
    promoted = follows(run, version)
    if verdict == "promote" and not promoted:
        told = f"it was rolled back: `pinsage rollback {version.name}` goes forward to it again"
    if not promoted and verdict != "promote":
        told = f"`{command(run, version, force=verdict == 'refuse')}` switches readers all the same"
        _log.warning("gate: %s; readers stay where they are; %s", "; ".join(reasons), told)
    settled = Settled(verdict, promoted, reasons, told, decided, version)
    _record(run, made, settled)
    return settled


def enforce(config: Config, settled: Settled) -> None:
    """Raise RefusedError where a version is refused, and `gate.on_refusal` makes that a failure.

    Called outside of `session`, when everything is published and recorded.
    """
    if config.gate.on_refusal == "complete" or settled.verdict != "refuse" or settled.promoted:
        return
    raise RefusedError(
        f"{settled.version.name} is refused, and readers stay where they are: "
        f"{'; '.join(settled.reasons)}. It is published and recorded: compare it with the champion "
        f"in MLflow; {settled.told}. That this run fails is what gate.on_refusal = fail asks for"
    )


def follows(run: Run, version: Version) -> bool:
    """Whether readers follow the version now."""
    config = run.config
    is_any = (shelf(config.root, config.name) / CURRENT).exists()
    return is_any and current_version(config.root, config.name) == version.name


def command(run: Run, version: Version, *, force: bool) -> str:
    """What a person types to switch readers."""
    where = f"--name {run.config.name} --root {run.config.root}"
    return f"pinsage promote {version.name} {where}{' --force' if force else ''}"


def _said(known: Mark) -> Verdict:
    return "promote" if known.said == "promote" else "refuse"


def _question(decided: Artifact, version: Version) -> str:
    markdown = decided.file("decision.md").read_text(encoding="utf-8")
    return f"Are readers to follow `{version.name}`?\n\n{markdown}"


def _record(run: Run, made: Challenger, settled: Settled) -> None:
    run.tracker.parent.write(
        tags={"gate.verdict": settled.verdict, "gate.promoted": str(settled.promoted).lower()},
        metrics=records.gate(settled.decided, promoted=settled.promoted),
    )
    run.book.outcome |= {
        "verdict": settled.verdict,
        "promoted": settled.promoted,
        "reasons": settled.reasons,
    }
    artifacts.show_gate(settled.decided, settled.verdict, settled.reasons[0], settled.told)
    if settled.verdict != "refuse":  # what was stopped must not become what is usual
        folder = shelf(run.config.root, run.config.name)
        remember(folder, night_of(made.drift, made.embedding_drift))
